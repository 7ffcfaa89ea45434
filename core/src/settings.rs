//! The settings in force: what the operator gave, and what was changed at run time.
//!
//! One change at a time: it is made to what is in force, it is in force when it is durable, and it is answered when that is
//! known. A save of which nobody knows is read back, so that no answer is a guess.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::calls::Calls;
use crate::command::{Ending, Key, Outcome, Write};
use crate::config::Config;
use crate::context::Context;
use crate::event::CallId;
use crate::http::error::{ErrorKind, HttpError};
use crate::http::respond::Answer;
use crate::http::settings::patch_config;
use crate::journal::rows::SETTINGS_KEY;
use crate::pending::Pending;
use crate::time::MachineTime;

/// Delay before the journal is read again after it failed.
const REREAD_MS: u64 = 1_000;

/// Changes that may wait for one whose save is not decided.
const CHANGES_WAITING_MAX: usize = 16;

/// What is in force, and changes that are being written.
#[derive(Debug)]
pub(crate) struct Settings {
    config: Arc<Config>,
    /// All changes at run time, as one partial config.
    changes: Map<String, Value>,
    /// The one whose save is not decided.
    under_way: Option<Change>,
    /// Those that wait for it.
    waiting: VecDeque<(CallId, Bytes)>,
    /// When its row is read again.
    reread: Option<MachineTime>,
}

#[derive(Debug)]
struct Change {
    call: CallId,
    config: Config,
    changes: Map<String, Value>,
    row: Bytes,
}

impl Settings {
    /// What the operator gave, and the journal's changes on top of it. If one of these no longer fits, all are left out for
    /// good, which is the second part of the answer.
    pub(crate) fn restore(config: Config, row: Option<Bytes>) -> (Settings, Option<String>) {
        let row = row.unwrap_or_else(|| Bytes::from_static(b"{}"));
        let (config, changes, left_out) = match patch_config(&config, &row) {
            Ok(changed) => (changed, serde_json::from_slice(&row).unwrap_or_default(), None),
            Err(error) => (config, Map::new(), Some(left_out(&error.message))),
        };
        let config = Arc::new(config);
        (Settings { config, changes, under_way: None, waiting: VecDeque::new(), reread: None }, left_out)
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The settings in force, to hold on to for a step.
    pub(crate) fn config_shared(&self) -> Arc<Config> {
        self.config.clone()
    }

    /// Someone wants a change. It is answered when it is durable, or cannot be.
    pub(crate) fn propose(&mut self, call: CallId, body: Bytes, cx: &mut Context<'_>) {
        if self.waiting.len() >= CHANGES_WAITING_MAX {
            let message = format!("{CHANGES_WAITING_MAX} changes wait for the journal: try again");
            Calls::respond(call, HttpError::new(ErrorKind::Unavailable, message).answer(), cx);
            return;
        }
        self.waiting.push_back((call, body));
        self.go_on(cx);
    }

    /// The client went away. A change that is being written is made all the same.
    pub(crate) fn gone(&mut self, call: CallId) {
        self.waiting.retain(|(of, _)| *of != call);
    }

    /// The next change begins, if none is under way.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        while self.under_way.is_none()
            && let Some((call, body)) = self.waiting.pop_front()
        {
            let config = match patch_config(&self.config, &body) {
                Ok(config) => config,
                Err(error) => {
                    Calls::respond(call, error.answer(), cx);
                    continue;
                }
            };
            let mut changes = self.changes.clone();
            changes.extend(serde_json::from_slice::<Map<String, Value>>(&body).unwrap_or_default());
            let row = Bytes::from(serde_json::to_vec(&changes).expect("JSON always encodes"));
            cx.save(vec![Write::Put(Bytes::from_static(SETTINGS_KEY), row.clone())], Pending::SaveSettings);
            self.under_way = Some(Change { call, config, changes, row });
        }
    }

    /// A change's save ended.
    pub(crate) fn saved(&mut self, outcome: Outcome, cx: &mut Context<'_>) {
        match outcome.of_save() {
            Ending::Done(()) => self.decided(true, cx),
            Ending::Refused(_) => self.decided(false, cx),
            Ending::Unknown(_) => read_back(cx),
        }
    }

    /// The row of a change whose save is unknown was read.
    pub(crate) fn read_back(&mut self, outcome: Outcome, cx: &mut Context<'_>) {
        match outcome.of_load().done() {
            Ok(entries) => {
                let written = self.under_way.as_ref().map(|change| &change.row);
                self.decided(entries.first().map(|(_, row)| row) == written, cx);
            }
            Err(_) => self.reread = Some(cx.now.after_ms(REREAD_MS)),
        }
    }

    fn decided(&mut self, is_durable: bool, cx: &mut Context<'_>) {
        let change = self.under_way.take().expect("a change is decided once");
        let answer = if is_durable {
            self.config = Arc::new(change.config);
            self.changes = change.changes;
            Answer::json(200, &serde_json::json!({ "success": true, "config": *self.config }))
        } else {
            let message = "the journal failed: nothing is changed, try again";
            HttpError::new(ErrorKind::Unavailable, message).answer()
        };
        Calls::respond(change.call, answer, cx);
        self.go_on(cx);
    }

    /// When the journal is read again.
    pub(crate) fn deadline(&self) -> Option<MachineTime> {
        self.reread
    }

    /// Reads the journal again when it is time.
    pub(crate) fn retry(&mut self, cx: &mut Context<'_>) {
        if self.reread.is_some_and(|due| due <= cx.now) {
            self.reread = None;
            read_back(cx);
        }
    }
}

fn left_out(why: &str) -> String {
    format!(
        "the settings that were changed at runtime do not go with those that were given, and are left out ({why}): send \
         again with PATCH /v1/config what is to hold"
    )
}

fn read_back(cx: &mut Context<'_>) {
    let key = Key::from_static(SETTINGS_KEY);
    let after = Key::from([SETTINGS_KEY, &[0]].concat());
    cx.load((key, after), Pending::ReadBackSettings);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::context::commands_of;

    /// What is answered in a step.
    fn step(act: impl FnOnce(&mut Context<'_>)) -> Vec<u16> {
        let status = |command| if let Command::Respond { head, .. } = command { Some(head.status) } else { None };
        commands_of(MachineTime(0), act).into_iter().filter_map(status).collect()
    }

    fn change(interval_ms: u64) -> Bytes {
        format!(r#"{{"flushIntervalMs":{interval_ms}}}"#).into()
    }

    #[test]
    fn few_changes_wait_for_one_that_is_being_written_and_none_whose_client_is_gone() {
        let (mut settings, _) = Settings::restore(Config::default(), None);
        for call in 0..=16 {
            assert_eq!(step(|cx| settings.propose(CallId(call), change(1_000 + call), cx)), [0; 0]);
        }
        assert_eq!(step(|cx| settings.propose(CallId(17), change(1), cx)), [503]);
        (0..16).for_each(|call| settings.gone(CallId(call)));
        assert_eq!(step(|cx| settings.saved(Outcome::Saved, cx)), [200]);
        assert_eq!(settings.config().flush_interval_ms, 1_000, "its client is gone, and it was being written");
        assert_eq!(step(|cx| settings.saved(Outcome::Saved, cx)), [200]);
        assert_eq!(settings.config().flush_interval_ms, 1_016);
        assert!(settings.under_way.is_none());
    }

    #[test]
    fn changes_that_were_left_out_at_a_start_do_not_come_back() {
        let row = Bytes::from_static(br#"{"memoryBudgetBytes":16777216}"#);
        let given = Config { max_payload_size: 8 << 20, ..Config::default() };
        let (mut settings, left_out) = Settings::restore(given.clone(), Some(row));
        assert!(left_out.is_some());
        assert_eq!(step(|cx| settings.propose(CallId(1), change(5_000), cx)), [0; 0]);
        let row = settings.under_way.as_ref().expect("it is being written").row.clone();
        let (settings, left_out) = Settings::restore(given.clone(), Some(row));
        assert_eq!(left_out, None);
        assert_eq!(*settings.config(), Config { flush_interval_ms: 5_000, ..given });
    }
}
