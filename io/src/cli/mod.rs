//! The command line. Each command is a file; [`exit`] says what their exit codes mean.

pub mod exit;
pub mod log;
pub mod serve;

use clap::{Parser, Subcommand};

use exit::Exit;

/// Takes change events of many small databases over WebSockets and writes Apache Iceberg tables that any engine reads.
#[derive(Debug, Parser)]
#[command(name = "dolake", version, after_help = exit::HELP)]
pub struct Cli {
    /// How logs are written to standard error. What is logged is set by RUST_LOG, such as `debug` or `dolake_io=trace`.
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text)]
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
}

/// Runs one command.
pub fn run(cli: &Cli) -> Exit {
    log::start(cli.log_format);
    match &cli.command {
        Command::Serve(args) => serve::run(args),
    }
}
