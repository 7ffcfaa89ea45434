//! Operators who change settings while all goes on: thresholds and limits grow and shrink, sometimes two changes at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use dolake_core::Config;
use dolake_core::event::CallId;
use serde_json::{Value, json};

use crate::world::World;

/// Settings that are changed, and what to. None takes away from a batch that was made up the room that it had. A change that
/// does not fit the others is refused.
const CHANGES: [(&str, &[u64]); 9] = [
    ("flushThresholdEvents", &[5, 20, 100, 10_000]),
    ("flushThresholdMs", &[300, 2_000, 10_000]),
    ("flushIntervalMs", &[500, 2_000, 8_000]),
    ("maxBufferSize", &[65_536, 1 << 20]),
    ("maxHoleBytes", &[8_192, 1 << 20]),
    ("maxSnapshots", &[2, 5, 1_000]),
    ("maxPayloadSize", &[16_384, 32_768]),
    ("maxEventSize", &[8_192, 16_384]),
    ("deduplicationWindowMs", &[3_600_000, 7_200_000]),
];

/// What is known of the settings in force.
#[derive(Debug, Default)]
pub struct Operator {
    /// Changes that were asked for and are not answered.
    pub(crate) open: BTreeMap<CallId, (&'static str, u64)>,
    /// What each setting may be: the last that was confirmed, and those of which nobody knows.
    pub(crate) possible: BTreeMap<&'static str, Vec<u64>>,
}

/// A setting of a config, by its name in JSON.
fn setting(config: &Config, key: &str) -> u64 {
    serde_json::to_value(config).ok().and_then(|config: Value| config[key].as_u64()).unwrap_or_default()
}

impl World {
    /// Someone changes a setting, or two do.
    pub(crate) fn change_settings(&mut self) {
        for _ in 0..self.chance.work.at("changes at once").between(1, 2) {
            let (key, values) = *self.chance.work.at("change of").pick(&CHANGES);
            let value = *self.chance.work.at("change to").pick(values);
            // Where holes are to close within a run, their time stays as short.
            let is_short = key == "deduplicationWindowMs" && self.plan.holes_close;
            let value = if is_short { value / 1_000 } else { value };
            self.count("settings changed");
            let body = Bytes::from(json!({ key: value }).to_string());
            let delay = self.chance.net.at("request").between(200, 20_000);
            let call = self.call("PATCH", "/v1/config", Vec::new(), body, delay);
            self.operator.open.insert(call, (key, value));
            let first = setting(&self.plan.config, key);
            self.operator.possible.entry(key).or_insert_with(|| vec![first]).push(value);
            self.widen(key, value);
        }
        self.ask_over_http("GET", "/v1/settings");
    }

    /// The most that `maxPayloadSize` was or may yet become.
    pub(crate) fn payload_limit_max(&self) -> usize {
        let changes = CHANGES.iter().filter(|(key, _)| *key == "maxPayloadSize" && self.plan.changes > 0);
        let values = changes.flat_map(|(_, values)| values.iter().copied());
        values.chain([self.widest.max_payload_size]).max().unwrap_or(0) as usize
    }

    /// What may have been in force at some time: checks of limits and of time allow for the widest.
    fn widen(&mut self, key: &str, value: u64) {
        let Config {
            flush_interval_ms,
            max_buffer_size,
            max_hole_bytes,
            max_snapshots,
            max_payload_size,
            deduplication_window_ms,
            ..
        } = &mut self.widest;
        let field = match key {
            "flushIntervalMs" => flush_interval_ms,
            "maxBufferSize" => max_buffer_size,
            "maxHoleBytes" => max_hole_bytes,
            "maxSnapshots" => max_snapshots,
            "maxPayloadSize" => max_payload_size,
            "deduplicationWindowMs" => deduplication_window_ms,
            _ => return,
        };
        *field = value.max(*field);
    }

    /// The process is gone: nobody knows what became of changes that had reached it.
    pub(crate) fn forget_change(&mut self, call: CallId) {
        if self.operator.open.remove(&call).is_some() {
            self.count("change of settings unknown");
        }
    }
}
