//! Runs that showed a bug once, each made small by `dolake-sim shrink`, with all that chance decided in them.
//!
//! Seeds that found a bug (`../corpus.txt`) come to mean other runs when the workload changes; these do not. A file for
//! each bug; see docs/SIMULATION.md, "From a failure to a fix".

mod ack_before_save;
mod forgotten_events;
mod post;
mod sparse;
mod unknown_commit;

use dolake_sim::run::{Told, play};
use dolake_sim::trace::Trace;

/// Plays a run: no check may fail, and it has to be asked what was kept, or it is no longer the run that it was.
fn holds(text: &str) {
    let trace = Trace::read(text).expect("a trace");
    let report = play(&trace, Told::Nobody, &|_| None).expect("its plan was read");
    if let Some(violation) = report.violation {
        panic!("{}: {}", violation.check, violation.message);
    }
    let unasked: Vec<&str> = trace.decisions.unlike(&report.decisions).collect();
    assert!(unasked.is_empty(), "these questions are no longer asked, or have other names now: {unasked:?}");
}
