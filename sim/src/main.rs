//! `dolake-sim`: runs one seed with its story, or many in search of one that fails; keeps, replays and shrinks what failed.

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Simulates DoLake's core in a world that fails")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs one seed.
    Run(cli::run::Arguments),
    /// Runs many seeds and names those that fail.
    Search(cli::search::Arguments),
    /// Plays a run that was kept in a file.
    Replay(cli::replay::Arguments),
    /// Makes a failing run small, and prints it as a story and as a test.
    Shrink(cli::shrink::Arguments),
    /// Writes what a run has in its store, for other programs and later releases.
    Dump(cli::dump::Arguments),
    /// Prints the hashes of runs.
    Hash(cli::hash::Arguments),
    /// Says how fast simulated time goes.
    Stats(cli::stats::Arguments),
    /// Plants bugs, one after the other, and says which check catches each.
    Mutants(cli::mutants::Arguments),
}

/// Whoever reads the output has read enough: no reason to say that this broke.
fn end_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match info.payload_as_str() {
        Some(message) if message.starts_with("failed printing to stdout") => std::process::exit(0),
        _ => usual(info),
    }));
}

fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    let result = match Arguments::parse().command {
        Action::Run(arguments) => cli::run::run(&arguments),
        Action::Search(arguments) => cli::search::search(&arguments),
        Action::Replay(arguments) => cli::replay::replay(&arguments),
        Action::Shrink(arguments) => cli::shrink::shrink(&arguments),
        Action::Dump(arguments) => cli::dump::dump(&arguments),
        Action::Hash(arguments) => cli::hash::hash(&arguments),
        Action::Stats(arguments) => cli::stats::stats(&arguments),
        Action::Mutants(arguments) => cli::mutants::mutants(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
