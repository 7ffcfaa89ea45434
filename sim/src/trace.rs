//! A run as it can be kept: its plan, and what its chance decided. It needs no seed to be run again, so it goes on to
//! show a bug when seeds have come to mean other runs.
//!
//! The text is JSON: the plan as what sets it apart from [`Plan::calm`], the decisions by question (see
//! [`crate::decisions`]). The seed is kept for the lives' own seeds, from which the machine makes its names.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::decisions::Decisions;
use crate::plan::Plan;
use crate::world::Violation;

/// What a kept plan may ask for at most, so that a damaged file cannot run for ever.
const LIMITS: [(&str, u64); 7] = [
    ("sources", 100),
    ("name_bytes", 256),
    ("batches", 10_000),
    ("batch_events_max", 1_000),
    ("turn_ms", 600_000),
    ("net_ms", 60_000),
    ("chaos_ms", 86_400_000),
];

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The seed of the machine's lives.
    pub seed: u64,
    /// The check that failed, if one did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub check: String,
    /// What it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What sets the plan apart from [`Plan::calm`].
    #[serde(default)]
    pub plan: Map<String, Value>,
    /// What chance decided.
    #[serde(default)]
    pub decisions: Decisions,
}

impl Trace {
    /// The trace of a run that was recorded.
    pub fn of(seed: u64, plan: &Plan, decisions: Decisions, violation: Option<&Violation>) -> Trace {
        let check = violation.map_or_else(String::new, signature);
        let message = violation.map_or_else(String::new, |violation| violation.message.chars().take(1_000).collect());
        Trace { seed, check, message, plan: difference(&to_map(&Plan::calm()), &to_map(plan)), decisions }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is no trace, or its plan cannot be run; says why.
    pub fn read(text: &str) -> Result<Trace, String> {
        let trace: Trace = serde_json::from_str(text).map_err(|error| error.to_string())?;
        trace.to_plan()?;
        Ok(trace)
    }

    /// As JSON, a line for each question.
    pub fn write(&self) -> String {
        serde_json::to_string_pretty(self).expect("a trace is plain data")
    }

    /// Its plan.
    ///
    /// # Errors
    /// A name is unknown, or a value cannot be.
    pub fn to_plan(&self) -> Result<Plan, String> {
        let mut all = to_map(&Plan::calm());
        merge(&mut all, &self.plan);
        for (name, most) in LIMITS {
            let value = all.get(name).and_then(Value::as_u64);
            if !value.is_some_and(|value| (1..=most).contains(&value)) {
                return Err(format!("plan: {name}: expected 1 to {most}, got {:?}", all.get(name)));
            }
        }
        let plan: Plan = serde_json::from_value(Value::Object(all)).map_err(|error| format!("plan: {error}"))?;
        plan.config.validate().map_err(|error| format!("plan: {error}"))?;
        Ok(plan)
    }
}

/// Names what failed, so that two failures can be told apart: the check, and for a panic also its words.
pub fn signature(violation: &Violation) -> String {
    if violation.check != "panic" {
        return violation.check.to_owned();
    }
    let words: String = violation.message.chars().filter(|char| !char.is_ascii_digit()).take(60).collect();
    format!("panic: {words}")
}

fn to_map(plan: &Plan) -> Map<String, Value> {
    let value = serde_json::to_value(plan).expect("a plan is plain data");
    value.as_object().expect("a plan has fields").clone()
}

fn difference(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    for (name, value) in to {
        match (from.get(name), value) {
            (Some(former), value) if former == value => {}
            (Some(Value::Object(former)), Value::Object(map)) => {
                found.insert(name.clone(), Value::Object(difference(former, map)));
            }
            (_, value) => {
                found.insert(name.clone(), value.clone());
            }
        }
    }
    found
}

fn merge(into: &mut Map<String, Value>, difference: &Map<String, Value>) {
    for (name, value) in difference {
        match (into.get_mut(name), value) {
            (Some(Value::Object(map)), Value::Object(inner)) => merge(map, inner),
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_kept_as_what_sets_it_apart() {
        for seed in 0..200 {
            let plan = Plan::of(seed);
            let trace = Trace::of(seed, &plan, Decisions::default(), None);
            let again = Trace::read(&trace.write()).expect("it was written");
            assert_eq!(again, trace);
            assert_eq!(again.to_plan(), Ok(plan));
        }
        assert_eq!(Trace::of(0, &Plan::calm(), Decisions::default(), None).write(), CALM);
    }

    #[test]
    fn a_panic_is_known_by_its_words_and_another_failure_by_its_check() {
        let of = |check, message: &str| signature(&Violation { check, message: message.to_owned() });
        assert_eq!(of("panic", "place 7 is given to 8"), of("panic", "place 12 is given to 9"));
        assert_ne!(of("panic", "place 7 is given to 8"), of("panic", "a save ends once"));
        assert_eq!(of("ack", "batch 1"), of("ack", "something else"));
        assert_ne!(of("ack", "batch 1"), of("mark", "batch 1"));
    }

    const CALM: &str = "{\n  \"seed\": 0,\n  \"plan\": {},\n  \"decisions\": {}\n}";

    #[test]
    fn a_text_that_is_no_trace_is_refused_with_its_reason() {
        let check = |text: &str, reason: &str| {
            let error = Trace::read(text).expect_err("refused");
            assert!(error.contains(reason), "{error}");
        };
        check("", "EOF");
        check(r#"{"seed":1,"plan":{"faults":{"meteor":1}}}"#, "unknown field `meteor`");
        check(r#"{"seed":1,"plan":{"sources":0}}"#, "sources: expected 1 to 100");
        check(r#"{"seed":1,"plan":{"config":{"flushIntervalMs":0}}}"#, "flushIntervalMs: expected a number above 0");
        check(r#"{"seed":1,"decisions":{"faults/crash":"3x"}}"#, "answers to \"faults/crash\"");
    }
}
