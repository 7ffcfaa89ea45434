//! Runs a seed to its end, whatever that is.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::plan::Plan;
use crate::record::Recorder;
use crate::world::{Violation, World};

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
    /// Over all events, commands and stored bytes.
    pub hash: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// The record, if it was kept.
    pub record: Recorder,
}

/// Runs a seed.
pub fn run(seed: u64, trace: bool, recorder: Recorder) -> Report {
    let plan = Plan::of(seed);
    if trace {
        println!("{plan:#?}");
    }
    let mut world = World::new(seed, plan, trace, recorder);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(()) => world.violation().cloned(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation { check: "panic", message: text.unwrap_or_default() })
        }
    };
    let hash = world.hash();
    let (simulated_ms, counts) = (world.simulated_ms(), world.counts.clone());
    Report { seed, violation, hash, simulated_ms, counts, record: world.into_record() }
}
