//! The binary `dolake`.

use std::process::ExitCode;

use clap::Parser;
use dolake_io::cli::{self, Cli};
use dolake_io::host::memory;

fn main() -> ExitCode {
    memory::bound();
    cli::run(&Cli::parse()).finish()
}
