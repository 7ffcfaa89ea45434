//! `version-hint.text`: which metadata file is current, for readers that scan a table by its path.
//!
//! It follows the commit, is written at most once a second and table, and is never a reason to fail. The one of the
//! last commit always follows. A start writes those again of which the journal does not say that they are written: at
//! least those of the last commit.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::catalog::state::Tables;
use crate::command::{Class, Condition, Outcome};
use crate::config::Config;
use crate::context::Context;
use crate::flush::Flusher;
use crate::flush::breaker::backoff_ms;
use crate::iceberg::location::version_hint;
use crate::pending::Pending;
use crate::time::MachineTime;

/// R2 takes one write a second to one key.
const INTERVAL_MS: u64 = 1_000;

/// How long a flush's answer, or the machine's stop, waits for hints, so that a reader by path sees what was flushed.
const HINT_PATIENCE_MS: u64 = 3 * INTERVAL_MS;

#[derive(Debug)]
struct Wanted {
    says: String,
    /// Since when the file says less than what was committed by then.
    since: MachineTime,
    /// When this was committed.
    committed: MachineTime,
}

#[derive(Debug)]
struct Hint {
    /// What it should say; `None` when that is written.
    wanted: Option<Wanted>,
    /// What is being written.
    writing: Option<Wanted>,
    not_before: MachineTime,
    failures: u32,
}

/// The hints that are to be written, by table folder.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    hints: BTreeMap<String, Hint>,
}

impl Hints {
    /// A table has a new metadata file; `base_name` is its name without `.metadata.json`.
    pub(crate) fn want(&mut self, folder: &str, base_name: String, now: MachineTime) {
        match self.hints.get_mut(folder) {
            Some(hint) if mutant!(HintDropped) && hint.writing.is_some() => {}
            Some(hint) => {
                let since = hint.wanted.as_ref().map_or(now, |wanted| wanted.since);
                hint.wanted = Some(Wanted { says: base_name, since, committed: now });
            }
            None => {
                let wanted = Some(Wanted { says: base_name, since: now, committed: now });
                self.hints.insert(folder.to_owned(), Hint { wanted, writing: None, not_before: now, failures: 0 });
            }
        }
    }

    /// Writes what is due.
    fn write_due(&mut self, cx: &mut Context<'_>) {
        for (folder, hint) in &mut self.hints {
            if hint.writing.is_some() || hint.not_before > cx.now {
                continue;
            }
            let Some(wanted) = hint.wanted.take() else { continue };
            hint.not_before = cx.now.after_ms(INTERVAL_MS);
            let key = format!("{folder}/metadata/version-hint.text");
            let purpose = Pending::Hint { folder: folder.clone() };
            cx.put(Class::Upkeep, key, Bytes::from(wanted.says.clone()), Condition::Always, purpose);
            hint.writing = Some(wanted);
        }
        let now = cx.now;
        self.hints.retain(|_, hint| hint.wanted.is_some() || hint.writing.is_some() || hint.not_before > now);
    }

    /// A write ended. Returns whether the hint now says what the last commit made.
    pub(crate) fn written(&mut self, folder: &str, ok: bool, config: &Config, cx: &mut Context<'_>) -> bool {
        let Some(hint) = self.hints.get_mut(folder) else { return false };
        let wrote = hint.writing.take();
        if ok {
            hint.failures = 0;
        } else {
            hint.failures += 1;
            hint.wanted = match (hint.wanted.take(), wrote) {
                (Some(newer), Some(wrote)) => Some(Wanted { since: wrote.since, ..newer }),
                (newer, wrote) => newer.or(wrote),
            };
            hint.not_before = cx.now.after_ms(INTERVAL_MS.max(backoff_ms(hint.failures, None, config, cx.draws)));
        }
        ok && hint.wanted.is_none()
    }

    /// What failed and waits for its next try is tried soon.
    pub(crate) fn hurry(&mut self, now: MachineTime) {
        for hint in self.hints.values_mut() {
            hint.not_before = hint.not_before.min(now.after_ms(INTERVAL_MS));
        }
    }

    /// Whether a write is on its way. It ends by itself.
    pub(crate) fn are_on_their_way(&self) -> bool {
        self.hints.values().any(|hint| hint.writing.is_some())
    }

    /// Until when those are waited for that say less than what was committed at `at`.
    pub(crate) fn patience(&self, at: MachineTime) -> Option<MachineTime> {
        let stale = self.unwritten().map(|wanted| wanted.since).filter(|since| *since <= at);
        stale.map(|since| since.after_ms(HINT_PATIENCE_MS)).max()
    }

    /// Until when a machine that is to stop since `stopping` waits: what it commits meanwhile gets its time, too.
    fn patience_at_stop(&self, stopping: MachineTime) -> Option<MachineTime> {
        self.unwritten().map(|wanted| wanted.committed.max(stopping).after_ms(HINT_PATIENCE_MS)).max()
    }

    /// What is to be written.
    fn unwritten(&self) -> impl Iterator<Item = &Wanted> {
        self.hints.values().flat_map(|hint| [&hint.wanted, &hint.writing]).flatten()
    }

    /// When the next one is due.
    pub(crate) fn deadline(&self) -> Option<MachineTime> {
        let waiting = self.hints.values().filter(|hint| hint.wanted.is_some() && hint.writing.is_none());
        waiting.map(|hint| hint.not_before).min()
    }
}

impl Flusher {
    /// Until when a machine that is to stop waits for hints, where it still does.
    pub(crate) fn hint_patience(&self, now: MachineTime) -> Option<MachineTime> {
        let (stopping, _) = self.requests.stopping?;
        self.hints.patience_at_stop(stopping).filter(|until| now < *until)
    }

    /// Writes hints that are due. A machine that is to stop begins no more once it does not wait for them.
    pub(crate) fn write_hints(&mut self, cx: &mut Context<'_>) {
        if self.writes_hints(cx.now) {
            self.hints.write_due(cx);
        }
    }

    /// Whether hints are written.
    pub(super) fn writes_hints(&self, now: MachineTime) -> bool {
        self.requests.stopping.is_none() || self.hint_patience(now).is_some()
    }

    /// Writes the hints again that a former life may have left unwritten.
    pub(crate) fn want_unwritten_hints(&mut self, tables: &Tables, config: &Config, now: MachineTime) {
        for (ident, figures) in &tables.figures {
            let Some(pointer) = tables.pointers.get(ident).filter(|_| !figures.hinted) else { continue };
            let root = format!("{}/{}", config.r2_base_path, pointer.folder);
            self.hints.want(&root, version_hint(&pointer.metadata_location).to_owned(), now);
        }
    }

    /// A hint's write ended. That it is written is journaled with the next commit that has other tables, so that it costs no
    /// save of its own, and tables that are written all the time no row.
    pub(crate) fn hint_written(&mut self, folder: &str, outcome: &Outcome, tables: &mut Tables, cx: &mut Context<'_>) {
        let config = cx.config;
        if !self.hints.written(folder, *outcome == Outcome::Put, config, cx) {
            if self.requests.stopping.is_some() {
                // Its time ends before a longer delay does.
                self.hints.hurry(cx.now);
            }
            return;
        }
        let ident = tables.pointers.iter().find(|(_, pointer)| {
            folder.strip_prefix(&config.r2_base_path).and_then(|rest| rest.strip_prefix('/')) == Some(&pointer.folder)
        });
        if let Some(ident) = ident.map(|(ident, _)| ident.clone()) {
            tables.hinted(&ident);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::context::commands_of;

    /// What is written in a step at this time, and how the write of then ended.
    fn step(hints: &mut Hints, now: u64, ended: Option<bool>) -> Vec<Bytes> {
        let commands = commands_of(MachineTime(now), |cx| {
            if let Some(ok) = ended {
                hints.written("t", ok, cx.config, cx);
            }
            hints.write_due(cx);
        });
        let written = |command| if let Command::Put { bytes, .. } = command { Some(bytes) } else { None };
        commands.into_iter().filter_map(written).collect()
    }

    #[test]
    fn the_newest_is_written_also_after_an_older_one_failed() {
        let mut hints = Hints::default();
        hints.want("t", "v1".to_owned(), MachineTime(0));
        assert_eq!(step(&mut hints, 0, None), ["v1"]);
        hints.want("t", "v2".to_owned(), MachineTime(0));
        assert_eq!(step(&mut hints, 10, Some(false)), [""; 0]);
        assert_eq!(step(&mut hints, 100_000, None), ["v2"]);
        assert_eq!(step(&mut hints, 100_010, Some(true)), [""; 0]);
        assert!(hints.unwritten().next().is_none());
    }

    #[test]
    fn what_failed_is_written_again() {
        let mut hints = Hints::default();
        hints.want("t", "v1".to_owned(), MachineTime(0));
        assert_eq!(step(&mut hints, 0, None), ["v1"]);
        assert_eq!(step(&mut hints, 10, Some(false)), [""; 0]);
        assert_eq!(step(&mut hints, 100_000, None), ["v1"]);
    }
}
