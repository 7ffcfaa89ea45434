//! `dolake-sim run`: one seed.

use std::path::PathBuf;

use dolake_sim::plan::{Plan, Profile};
use dolake_sim::record::Recorder;
use dolake_sim::run::{Report, record_plan, run_plan};

use super::{Ended, code, save};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Tells everything that happens.
    #[arg(long)]
    trace: bool,
    /// How long the run is
    #[arg(long, value_enum, default_value_t = Profile::Short)]
    profile: Profile,
    /// Keeps the run in this file, for `replay` and `shrink`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Ended {
    let Arguments { seed, trace, profile, save: kept } = arguments;
    let plan = Plan::with_profile(*seed, *profile);
    let report = run_plan(*seed, plan.clone(), *trace, Recorder::hashing());
    if let Some(path) = kept {
        save(&record_plan(*seed, &plan, &|_| None).1, path)?;
    }
    println!("seed {seed}: hash {:016x}, {} simulated ms", report.hash, report.simulated_ms);
    show(&report);
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
