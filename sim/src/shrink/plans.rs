//! The same failure in simpler runs: a plan with less in it, drawn anew from a few seeds.
//!
//! Most bugs need few of a run's faults, and show in many seeds once the rest is off. This finds such a run sooner than
//! cutting a long list of decisions does, and what is cut afterwards is short.

use serde_json::{Map, Value};

use super::{LEFT_FOR_LISTS, Shrinker, by_pieces};
use crate::run::record_plan;
use crate::trace::Trace;

/// Seeds that each simpler plan is tried with, besides its own.
const SEEDS: u64 = 12;

/// Seeds from which the shortest run of the simplest plan is chosen.
const SEEDS_AT_LAST: u64 = 60;

type Settings = Map<String, Value>;

/// A plan that fails, and a seed with which it does.
struct Simplest {
    plan: Settings,
    seed: u64,
    found: Option<Trace>,
}

impl Shrinker<'_> {
    /// Looks for the simplest plan that fails in the same way, and for its shortest run.
    pub(super) fn simpler_plans(&mut self) {
        let mut simplest = Simplest { plan: self.best.plan.clone(), seed: self.best.seed, found: None };
        self.fewer_settings(&mut simplest, Some("faults"));
        for (name, least) in [("sources", 1), ("batches", 1), ("batch_events_max", 1), ("chaos_ms", 1_000)] {
            self.lower_setting(&mut simplest, name, least);
        }
        self.fewer_settings(&mut simplest, Some("config"));
        self.fewer_settings(&mut simplest, None);
        let Some(found) = simplest.found else { return };
        // Its measure is smaller nearly always. Where it is not, the run that was given is as simple as any.
        self.adopt(found);
        for seed in 0..SEEDS_AT_LAST {
            if let Some(found) = self.fails_with(&simplest.plan, seed) {
                self.adopt(found);
            }
        }
    }

    /// Leaves settings out, many at once first: those within a group, or those that stand by themselves.
    fn fewer_settings(&mut self, simplest: &mut Simplest, group: Option<&str>) {
        let names = |simplest: &Simplest| -> Vec<String> {
            let inner = group.map_or(Some(&simplest.plan), |group| simplest.plan.get(group).and_then(Value::as_object));
            let alone = |value: &Value| group.is_some() || !value.is_object();
            let names = inner.into_iter().flatten().filter(|(_, value)| alone(value)).map(|(name, _)| name.clone());
            names.filter(|name| !KEPT.contains(&name.as_str())).collect()
        };
        by_pieces(
            &mut (self, simplest),
            |(_, simplest)| names(simplest).len(),
            |(shrinker, simplest), from, until| {
                let mut plan = simplest.plan.clone();
                let inner = match group {
                    Some(group) => plan.get_mut(group).and_then(Value::as_object_mut),
                    None => Some(&mut plan),
                };
                let Some(inner) = inner else { return false };
                for name in &names(simplest)[from..until] {
                    inner.remove(name);
                }
                shrinker.try_plan(simplest, plan)
            },
        );
    }

    /// Brings a number down: to its least, or else by halves.
    fn lower_setting(&mut self, simplest: &mut Simplest, name: &str, least: u64) {
        let Ok(calm) = serde_json::to_value(crate::plan::Plan::calm()) else { return };
        let mut tried = least;
        loop {
            let now = simplest.plan.get(name).or_else(|| calm.get(name)).and_then(Value::as_u64).unwrap_or(least);
            if tried >= now {
                return;
            }
            let mut plan = simplest.plan.clone();
            plan.insert(name.to_owned(), Value::from(tried));
            if self.try_plan(simplest, plan) {
                return;
            }
            tried = (tried * 2).max(now / 8);
        }
    }

    fn try_plan(&mut self, simplest: &mut Simplest, plan: Settings) -> bool {
        for seed in std::iter::once(simplest.seed).chain(0..SEEDS) {
            if let Some(found) = self.fails_with(&plan, seed) {
                *simplest = Simplest { plan, seed, found: Some(found) };
                return true;
            }
        }
        false
    }

    fn fails_with(&mut self, plan: &Settings, seed: u64) -> Option<Trace> {
        if (self.left)() <= LEFT_FOR_LISTS {
            return None;
        }
        let plan = Trace { plan: plan.clone(), ..Trace::default() }.to_plan().ok()?;
        self.runs += 1;
        let (report, trace) = record_plan(seed, &plan, self.watch);
        self.fails_as_wanted(&report).then_some(trace)
    }
}

/// Numbers that are brought down and not left out: the calm plan leaves much room.
const KEPT: [&str; 4] = ["sources", "batches", "batch_events_max", "chaos_ms"];
