//! `dolake-sim replay`: plays a run that was kept.

use std::path::PathBuf;

use dolake_sim::run::{Told, play};
use dolake_sim::trace::signature;

use super::run::show;
use super::{Ended, code, load};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file, from `run --save`, `search --save-failures` or `shrink`.
    file: PathBuf,
    /// Tells everything that happens.
    #[arg(long)]
    trace: bool,
}

pub(crate) fn replay(arguments: &Arguments) -> Ended {
    let trace = load(&arguments.file)?;
    let told = if arguments.trace { Told::Terminal } else { Told::Nobody };
    let report = play(&trace, told, &|_| None)?;
    println!("hash {:016x}, {} simulated ms", report.hash, report.simulated_ms);
    show(&report);
    let unasked: Vec<&str> = trace.decisions.unlike(&report.decisions).collect();
    if !unasked.is_empty() {
        println!(
            "Other questions than were kept: the run is no longer quite what it was. Not asked: {}",
            unasked.join(", ")
        );
    }
    let kept = trace.check.as_str();
    match report.violation.as_ref().map(signature) {
        None if kept.is_empty() => println!("No check fails, and none did."),
        None => println!("No check fails any more; {kept:?} did."),
        Some(found) if found == kept => println!("The same check fails: {kept:?}."),
        Some(found) if kept.is_empty() => println!("The check {found:?} fails, and none did."),
        Some(found) => println!("Another check fails: {found:?}; it was {kept:?}."),
    }
    Ok(code(report.violation.is_some()))
}
