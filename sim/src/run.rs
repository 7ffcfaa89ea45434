//! Runs a seed, or what was kept of a run, to its end, whatever that is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::decisions::{Decisions, Tape};
use crate::plan::Plan;
use crate::queue::Micros;
use crate::record::Recorder;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::truth::Uid;
use crate::world::{Chance, Listener, Violation, World};

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
    /// What each commit brought to the lake.
    pub(crate) brought: Vec<Vec<Uid>>,
    /// What chance decided, if it was written down.
    pub decisions: Decisions,
    /// The story, if it was kept: moments in microseconds, and what happened.
    pub story: Vec<(Micros, String)>,
}

/// One more check than the world's own, for tests and for questions that someone has: what it says is wrong, if anything.
pub type Watch<'a> = &'a dyn Fn(&World) -> Option<String>;

/// Runs a seed.
pub fn run(seed: u64, trace: bool, recorder: Recorder) -> Report {
    run_plan(seed, Plan::of(seed), trace, recorder)
}

/// Runs a plan with a seed's chance.
pub fn run_plan(seed: u64, plan: Plan, trace: bool, recorder: Recorder) -> Report {
    if trace {
        println!("{plan:#?}");
    }
    finish(seed, World::new(seed, plan, trace, recorder), &|_| None)
}

/// Runs a seed and writes down what its chance decides.
pub fn record(seed: u64, watch: Watch<'_>) -> (Report, Trace) {
    record_plan(seed, &Plan::of(seed), watch)
}

/// Runs a plan with a seed's chance, and writes down what that decides.
pub fn record_plan(seed: u64, plan: &Plan, watch: Watch<'_>) -> (Report, Trace) {
    let chance = Chance::new(seed, |seed, concern| Rng::with_tape(seed, concern, Tape::listening()));
    let world = World::with(chance, plan.clone(), Listener::Nobody, Recorder::hashing());
    let mut report = finish(seed, world, watch);
    let decisions = std::mem::take(&mut report.decisions);
    let trace = Trace::of(seed, plan, decisions, report.violation.as_ref());
    (report, trace)
}

/// Who listens while a kept run is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nobody.
    Nobody,
    /// The terminal.
    Terminal,
    /// The report.
    Report,
}

/// Plays what was kept of a run. What its chance decides in the end is in the report: answers that were not asked for
/// are gone, and those that could not be are 0.
///
/// # Errors
/// Its plan cannot be run.
pub fn play(trace: &Trace, told: Told, watch: Watch<'_>) -> Result<Report, String> {
    let plan = trace.to_plan()?;
    let listener = match told {
        Told::Nobody => Listener::Nobody,
        Told::Terminal => Listener::Terminal,
        Told::Report => Listener::Lines(RefCell::default()),
    };
    let chance = Chance::new(trace.seed, |seed, concern| Rng::with_tape(seed, concern, trace.decisions.tape(concern)));
    Ok(finish(trace.seed, World::with(chance, plan, listener, Recorder::hashing()), watch))
}

/// Runs a plan twice; the second time nothing of the lake is read, for the first run has seen what comes with each commit.
/// What chance did must not change: a run that is not the same is a violation like any other.
pub fn run_twice(seed: u64, plan: &Plan) -> Report {
    again(run_plan(seed, plan.clone(), false, Recorder::hashing()), plan)
}

fn again(mut first: Report, plan: &Plan) -> Report {
    if first.violation.is_some() {
        return first;
    }
    let seed = first.seed;
    let mut world = World::new(seed, plan.clone(), false, Recorder::hashing());
    world.told = Some(std::mem::take(&mut first.brought).into());
    let second = finish(seed, world, &|_| None);
    if second.hash != first.hash {
        let saw = second.violation.map_or_else(String::new, |violation| format!("; it saw {violation:?}"));
        let message = format!("a second run has the hash {:016x}, not {:016x}{saw}", second.hash, first.hash);
        first.violation = Some(Violation { check: "determinism", message });
    }
    first
}

pub(crate) fn finish(seed: u64, mut world: World, watch: Watch<'_>) -> Report {
    let result = catch_unwind(AssertUnwindSafe(|| world.run_watched(watch)));
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
    let brought = std::mem::take(&mut world.brought);
    let (record, decisions, story) = world.into_parts();
    Report { seed, violation, hash, simulated_ms, counts, record, brought, decisions, story }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_that_reads_nothing_is_the_same_run() {
        for seed in [2, 8, 12] {
            let report = run_twice(seed, &Plan::of(seed));
            assert_eq!(report.violation, None, "seed {seed}");
            assert_eq!(report.hash, run(seed, false, Recorder::hashing()).hash, "seed {seed}");
        }
    }

    #[test]
    fn a_second_run_that_is_another_is_seen() {
        let plan = Plan::of(2);
        let other = Plan { turn_ms: plan.turn_ms + 1, ..plan.clone() };
        let report = again(run_plan(2, other, false, Recorder::hashing()), &plan);
        assert_eq!(report.violation.expect("it is another run").check, "determinism");
    }
}
