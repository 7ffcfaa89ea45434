//! `dolake-sim run`: one seed.

use std::path::PathBuf;

use dolake_sim::record::Recorder;
use dolake_sim::run::{Report, record, run as run_seed};

use super::{Ended, code, save};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Tells everything that happens.
    #[arg(long)]
    trace: bool,
    /// Keeps the run in this file, for `replay` and `shrink`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Ended {
    let Arguments { seed, trace, save: kept } = arguments;
    let report = run_seed(*seed, *trace, Recorder::hashing());
    println!("seed {seed}: hash {:016x}, {} simulated ms", report.hash, report.simulated_ms);
    show(&report);
    if let Some(path) = kept {
        save(&record(*seed, &|_| None).1, path)?;
    }
    Ok(code(report.violation.is_some()))
}

/// Prints what happened how often, and what was wrong.
pub(super) fn show(report: &Report) {
    for (what, count) in &report.counts {
        println!("{count:>9} {what}");
    }
    if let Some(violation) = &report.violation {
        println!("{}: {}", violation.check, violation.message);
    }
}
