//! The command line. Each command is a file; [`exit`] says what their exit codes mean.

pub mod columns;
pub mod demo;
pub mod exit;
pub mod lake_view;
pub mod log;
pub mod produce;
pub mod serve;
pub mod tables;
pub mod verify;

use clap::{Parser, Subcommand};

use exit::Exit;

/// Takes change events of many small databases over WebSockets and writes Apache Iceberg tables that any engine reads.
#[derive(Debug, Parser)]
#[command(name = "dolake", version, after_help = exit::HELP)]
pub struct Cli {
    /// How logs go to standard error: text or json. RUST_LOG says what is logged, such as `debug`
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = log::Format::Text, hide_possible_values = true)]
    pub log_format: log::Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: takes events at ws://…/lakehouse, serves the Iceberg catalog at /v1
    Serve(serve::Args),
    /// Send change events from a file or standard input to a server
    Produce(produce::Args),
    /// List the tables of a lake, from its store alone
    Tables(tables::Args),
    /// Check a whole lake: everything that its metadata says, and each event once
    Verify(verify::Args),
    /// See it work: real data, cut connections, a kill -9 in the middle, and every event in the lake once
    Demo(demo::Args),
}

impl Command {
    /// The log of a server is for its operator; the others speak for themselves, but say why they wait.
    fn log_level(&self) -> &'static str {
        match self {
            Command::Serve(_) | Command::Produce(_) => "info",
            Command::Tables(_) | Command::Verify(_) | Command::Demo(_) => "warn",
        }
    }
}

/// Runs one command.
pub fn run(cli: &Cli) -> Exit {
    log::start(cli.log_format, cli.command.log_level());
    match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Produce(args) => produce::run(args),
        Command::Tables(args) => tables::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Demo(args) => demo::run(args),
    }
}
