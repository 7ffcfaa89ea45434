//! `dolake-sim`: runs one seed with its story, or many in search of one that fails.

mod cli {
    pub(crate) mod mutants;
}

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use dolake_sim::record::Recorder;
use dolake_sim::run::run;

#[derive(Debug, Parser)]
#[command(about = "Simulates DoLake's core in a world that fails")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs one seed.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Tells everything that happens.
        #[arg(long)]
        trace: bool,
    },
    /// Runs many seeds and names those that fail.
    Search {
        /// From the first, up to and without the last: `0..1000`.
        #[arg(long, value_parser = range)]
        seeds: Range<u64>,
    },
    /// Plants bugs, one after the other, and says which check catches each.
    Mutants(cli::mutants::Arguments),
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, until) = text.split_once("..").ok_or("expected a range like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(until)?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let failed = match arguments.command {
        Action::Run { seed, trace } => {
            let report = run(seed, trace, Recorder::hashing());
            println!("seed {seed}: hash {:016x}, {} simulated ms", report.hash, report.simulated_ms);
            for (what, count) in &report.counts {
                println!("{count:>9} {what}");
            }
            if let Some(violation) = &report.violation {
                println!("{}: {}", violation.check, violation.message);
            }
            report.violation.is_some()
        }
        Action::Search { seeds } => search(seeds),
        Action::Mutants(arguments) => {
            return cli::mutants::mutants(&arguments).unwrap_or_else(|error| {
                eprintln!("{error}");
                ExitCode::from(2)
            });
        }
    };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn search(seeds: Range<u64>) -> bool {
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let began = Instant::now();
    let (mut failed, mut simulated_ms, mut total) = (0_u64, 0_u64, BTreeMap::<&str, (u64, u64)>::new());
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        let report = run(seed, false, Recorder::hashing());
        simulated_ms += report.simulated_ms;
        for (what, count) in report.counts {
            let entry = total.entry(what).or_default();
            *entry = (entry.0 + count, entry.1 + 1);
        }
        if let Some(violation) = report.violation {
            failed += 1;
            println!("seed {seed}: {}: {}", violation.check, violation.message);
            println!("    dolake-sim run --trace --seed {seed}");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    for (what, (count, seeds)) in &total {
        println!("{count:>9} {what}, in {seeds} seeds");
    }
    let ratio = simulated_ms as f64 / 1_000.0 / seconds;
    println!("{count} seeds, {failed} failed, {seconds:.1} s, {ratio:.0} times as fast as the clock");
    failed > 0
}
