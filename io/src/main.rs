//! The binary `dolake`.

use std::process::ExitCode;

use clap::Parser;
use dolake_io::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(&Cli::parse()).finish()
}
