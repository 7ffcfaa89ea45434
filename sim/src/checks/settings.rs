//! Promise 1, for operators: a change of settings that was confirmed is in force until another, one that was refused is not,
//! whatever crashes. Does not see whether the machine acts on it: limits are held to the widest that was ever asked for.

use bytes::Bytes;
use dolake_core::event::CallId;
use serde_json::Value;

use crate::world::World;

impl World {
    /// A request has its answer.
    pub(super) fn check_settings(&mut self, call: CallId, status: u16, body: &Bytes) {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some((key, value)) = self.operator.open.remove(&call) {
            let others = self.operator.open.values().filter(|(other, _)| *other == key).map(|(_, value)| *value);
            let mut left: Vec<u64> = others.collect();
            let possible = self.operator.possible.entry(key).or_default();
            if status == 200 {
                left.push(value);
                *possible = left;
            } else {
                self.counts.entry("change of settings refused").and_modify(|n| *n += 1).or_insert(1);
                if let Some(at) = possible.iter().rposition(|possible| *possible == value) {
                    possible.remove(at);
                }
            }
            self.hold_settings(&said["config"]);
        } else if said.get("flushIntervalMs").is_some() {
            self.hold_settings(&said);
        }
    }

    fn hold_settings(&mut self, said: &Value) {
        let wrong = self.operator.possible.iter().find_map(|(key, possible)| {
            let value = said[key].as_u64()?;
            (!possible.contains(&value)).then(|| format!("{key} is {value}, and can only be one of {possible:?}"))
        });
        if let Some(message) = wrong {
            self.fail("settings", message);
        }
    }
}
