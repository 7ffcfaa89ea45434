//! Makes a failing run small while the same check goes on failing, until a person can read it.
//!
//! First it looks for the same failure in simpler runs ([`plans`]): fewer faults, sources, batches, less time, drawn anew
//! from some seeds. What that finds is a list of decisions ([`crate::trace`]), of which ever more is then taken away
//! ([`lists`]). What is smaller is said by [`Measure`]. It ends when nothing more can be taken away, or when its budget
//! is spent; it looks at no clock, so who calls it says what is left. [`story`] and [`rust_test`] show the result.

mod lists;
mod plans;
pub mod rust_test;
pub mod story;

use serde_json::{Map, Value};

use crate::decisions::Size;
use crate::run::{Report, Told, Watch, play};
use crate::trace::{Trace, signature};

/// How large a run is, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measure {
    /// What is set: decisions that are not calm, and settings that are not the calm plan's.
    pub set: usize,
    /// All answers.
    pub decisions: Size,
    /// The numbers of the plan.
    pub plan: u128,
}

impl Measure {
    /// Measures a run.
    pub fn of(trace: &Trace) -> Measure {
        let decisions = trace.decisions.size();
        let (settings, plan) = weigh(&trace.plan);
        Measure { set: decisions.set + settings, decisions, plan }
    }
}

impl std::fmt::Display for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} settings", self.decisions, self.set - self.decisions.set)
    }
}

/// How many settings there are, and the sum of their numbers.
fn weigh(plan: &Map<String, Value>) -> (usize, u128) {
    let weights = plan.values().map(|value| match value {
        Value::Object(inner) => weigh(inner),
        Value::Number(number) => (1, u128::from(number.as_u64().unwrap_or(0))),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => (1, 0),
    });
    weights.fold((0, 0), |(settings, sum), (more, numbers)| (settings + more, sum + numbers))
}

/// What is left of the budget, from 1 down to 0.
pub type Left<'a> = &'a dyn Fn() -> f64;

/// The share of the budget that looking for simpler runs leaves.
const LEFT_FOR_LISTS: f64 = 0.6;

/// A small run, and how it came about.
#[derive(Debug)]
pub struct Shrunk {
    /// The run.
    pub trace: Trace,
    /// Its size.
    pub after: Measure,
    /// The size of what it was made from.
    pub before: Measure,
    /// Runs that it took.
    pub runs: u64,
    /// Whether the budget was spent before all was tried.
    pub is_cut_short: bool,
}

/// Makes a failing run small.
///
/// # Errors
/// The run cannot be played, or no check fails in it.
pub fn shrink(trace: &Trace, left: Left<'_>, watch: Watch<'_>) -> Result<Shrunk, String> {
    let report = play(trace, Told::Nobody, watch)?;
    let wanted = report.violation.as_ref().map(signature).ok_or("no check fails in this run")?;
    let best = Trace { decisions: report.decisions, ..trace.clone() };
    let before = Measure::of(&best);
    let mut shrinker = Shrinker { wanted, watch, left, measure: before, best, runs: 1 };
    shrinker.simpler_plans();
    loop {
        let former = shrinker.measure;
        shrinker.smaller_lists();
        if shrinker.measure == former || shrinker.is_spent() {
            break;
        }
    }
    let is_cut_short = shrinker.is_spent();
    Ok(Shrunk { trace: shrinker.best, after: shrinker.measure, before, runs: shrinker.runs, is_cut_short })
}

/// The smallest run so far.
struct Shrinker<'a> {
    /// What has to fail.
    wanted: String,
    watch: Watch<'a>,
    left: Left<'a>,
    best: Trace,
    measure: Measure,
    runs: u64,
}

impl Shrinker<'_> {
    fn is_spent(&self) -> bool {
        (self.left)() <= 0.0
    }

    /// Plays a run and takes it if it is smaller and fails in the same way. What it did not ask for is not kept.
    fn attempt(&mut self, candidate: Trace) -> bool {
        if self.is_spent() || candidate == self.best {
            return false;
        }
        self.runs += 1;
        let Ok(report) = play(&candidate, Told::Nobody, self.watch) else { return false };
        self.fails_as_wanted(&report) && {
            let plan = candidate.plan;
            let smaller = Trace::of(candidate.seed, &plan_of(&plan), report.decisions, report.violation.as_ref());
            self.adopt(smaller)
        }
    }

    fn fails_as_wanted(&self, report: &Report) -> bool {
        report.violation.as_ref().is_some_and(|violation| signature(violation) == self.wanted)
    }

    fn adopt(&mut self, candidate: Trace) -> bool {
        let measure = Measure::of(&candidate);
        let is_smaller = measure < self.measure;
        if is_smaller {
            (self.best, self.measure) = (candidate, measure);
        }
        is_smaller
    }
}

/// The plan of differences that were played, and so can be.
fn plan_of(differences: &Map<String, Value>) -> crate::plan::Plan {
    let trace = Trace { plan: differences.clone(), ..Trace::default() };
    trace.to_plan().expect("this plan was played")
}

/// Tries pieces of `count` things, large ones first, each as often as it helps: `attempt` says whether the piece is
/// gone, `count` how many things are left.
fn by_pieces<T>(with: &mut T, count: impl Fn(&T) -> usize, mut attempt: impl FnMut(&mut T, usize, usize) -> bool) {
    let mut size = count(with);
    while size > 0 {
        let mut from = 0;
        while from < count(with) {
            let until = (from + size).min(count(with));
            if !attempt(with, from, until) {
                from = until;
            }
        }
        size /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_tried_until_only_what_matters_is_left() {
        let mut things: Vec<u32> = (0..100).collect();
        by_pieces(&mut things, Vec::len, |things, from, until| {
            let mut fewer = things.clone();
            fewer.drain(from..until);
            let is_enough = fewer.contains(&3) && fewer.contains(&77);
            if is_enough {
                *things = fewer;
            }
            is_enough
        });
        assert_eq!(things, [3, 77]);
    }
}
