//! The end of a flush: one journal transaction moves pointers, frontiers and batch rows; then the marks leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::state::{TableFigures, Tables};
use crate::catalog::{TableIdent, TablePointer};
use crate::command::{Class, Command, Ending, Failure, Key, Outcome};
use crate::context::Context;
use crate::flush::breaker::backoff_ms;
use crate::flush::parked::{ParkedKey, Share};
use crate::flush::run::Run;
use crate::flush::table::{Base, TablePart, weigh};
use crate::flush::{Flusher, LastFlush, Phase};
use crate::iceberg::location::version_hint;
use crate::ingest::Ingest;
use crate::ingest::release::Persisted;
use crate::journal::rows::{FLUSH_KEY, FlushRow, GarbageRow, garbage_write};
use crate::journal::{self, Family};
use crate::limits::TABLE_ATTEMPTS_MAX;
use crate::pending::Pending;
use crate::time::MachineTime;

/// A commit whose transaction is on its way, or waits to be tried again.
#[derive(Debug)]
pub(crate) struct Commit {
    tables: Vec<(TableIdent, TablePointer, TableFigures)>,
    next: FlushRow,
    /// Events that are parked with it, under these numbers.
    parking: Vec<(u64, Share)>,
    /// Tables that rest, of which it says that their hint is written.
    hinted: Vec<TableIdent>,
    tries: u32,
    /// When to issue it again; `None` while it is on its way.
    retry_at: Option<MachineTime>,
    /// Nobody knows what became of it: it is read back then, and not issued.
    is_unknown: bool,
}

impl Commit {
    /// Whether it failed, and waits.
    pub(crate) fn is_to_be_tried_again(&self) -> bool {
        self.retry_at.is_some()
    }
}

impl Flusher {
    /// Issues the transaction that makes the flush visible.
    pub(crate) fn commit(&mut self, mut run: Box<Run>, tables: &Tables, ingest: &Ingest, cx: &mut Context<'_>) {
        let moved = run.parts.values().map(|part| moved(part, &run, cx)).collect();
        let next = FlushRow { flush: run.flush + 1, attempt: 0, places: Vec::new(), ..self.row.clone() };
        let parking = std::mem::take(&mut run.parking);
        let parking = parking.into_iter().map(|share| (self.parked.next_number(), share)).collect();
        let (hinted, tries, retry_at, is_unknown) = (Vec::new(), 0, None, false);
        let commit = Commit { tables: moved, next, parking, hinted, tries, retry_at, is_unknown };
        self.issue_commit(run, commit, tables, ingest, cx);
    }

    /// Sources and batches move on while a commit waits, so its writes are made anew for each try.
    fn issue_commit(
        &mut self,
        run: Box<Run>,
        mut commit: Commit,
        tables: &Tables,
        ingest: &Ingest,
        cx: &mut Context<'_>,
    ) {
        commit.tries += 1;
        commit.retry_at = None;
        self.stamp(ingest, cx);
        commit.next.next_place = self.row.next_place;
        commit.next.time = self.row.time;
        commit.next.host_time = self.row.host_time;
        let mut writes = Vec::new();
        for (ident, pointer, figures) in &commit.tables {
            writes.extend(tables.commit_writes(ident, pointer, figures));
        }
        let committing: BTreeSet<&TableIdent> = commit.tables.iter().map(|(ident, ..)| ident).collect();
        let (hinted, hint_writes) = tables.hint_writes(&committing);
        commit.hinted = hinted;
        writes.extend(hint_writes);
        writes.extend(ingest.release_writes(&run.places, commit.parking.iter().map(|(_, share)| &share.key), cx));
        for (number, key) in retried(&run) {
            writes.extend(Family::Parked.delete(number, key, key.frame_bytes as usize));
        }
        for (number, share) in &commit.parking {
            writes.extend(Family::Parked.put(*number, &share.key, &share.batch.frame));
        }
        let garbage = garbage(&run);
        if !garbage.is_empty() {
            let row = GarbageRow { abandoned: Vec::new(), locations: garbage, since_ms: cx.wall.0 };
            writes.push(garbage_write(run.flush, run.attempt, &row));
        }
        writes.push(commit.next.write());
        cx.save(writes, Pending::SaveCommit);
        self.phase = Phase::Committing(run, commit);
    }

    /// The transaction ended. Returns whether the flush is committed.
    pub(crate) fn commit_saved(
        &mut self,
        outcome: Outcome,
        tables: &mut Tables,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        match outcome.of_save() {
            Ending::Done(()) => self.committed(tables, ingest, cx),
            Ending::Unknown(_) if mutant!(UnknownCommitGivenBack) => {
                self.phase = Phase::Idle;
                self.hold_off(cx);
            }
            Ending::Unknown(_) if mutant!(DeletesAfterFailedReply) => {
                self.delete_files(cx);
                read_commit_back(cx);
            }
            Ending::Refused(failure) => self.commit_later(&failure, cx),
            Ending::Unknown(_) => read_commit_back(cx),
        }
    }

    /// The row of an unknown commit was read back.
    pub(crate) fn commit_read_back(
        &mut self,
        outcome: Outcome,
        tables: &mut Tables,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let entries = match outcome.of_load().done() {
            Ok(entries) => entries,
            Err(failure) => return self.read_back_later(&failure, cx),
        };
        let row = entries.first().map(|(key, value)| journal::decode::<FlushRow>(key, value));
        let Phase::Committing(run, _) = &self.phase else { return };
        match row {
            Some(Ok(row)) if row.flush > run.flush || mutant!(ReadBackOffByOne) => self.committed(tables, ingest, cx),
            Some(Ok(_)) | None => {
                let failure = Failure { message: "the commit did not take effect".to_owned(), retry_after_ms: None };
                self.commit_later(&failure, cx);
            }
            Some(Err(error)) => panic!("the journal's flush row was readable at the start of this life: {error}"),
        }
    }

    /// Of [`crate::mutant::Mutant::DeletesAfterFailedReply`].
    fn delete_files(&self, cx: &mut Context<'_>) {
        let Phase::Committing(run, _) = &self.phase else { return };
        for file in run.parts.values().flat_map(|part| &part.files) {
            let op = cx.ops.issue(Pending::SaveRow { source: String::new() });
            let key = cx.key_of(&file.file_path).unwrap_or_default();
            cx.out.push(Command::Delete { op, class: Class::Upkeep, key });
        }
    }

    fn read_back_later(&mut self, failure: &Failure, cx: &mut Context<'_>) {
        self.again_later("an unknown commit cannot be read back", failure, cx);
        if let Phase::Committing(_, commit) = &mut self.phase {
            commit.tries += 1;
            commit.is_unknown = true;
        }
    }

    fn commit_later(&mut self, failure: &Failure, cx: &mut Context<'_>) {
        self.again_later("the journal refuses a commit", failure, cx);
    }

    fn again_later(&mut self, what: &str, failure: &Failure, cx: &mut Context<'_>) {
        self.journal_failures += 1;
        self.stats.last_error = Some(format!("{what}: {}", failure.message));
        if let Phase::Committing(_, commit) = &mut self.phase {
            let delay_ms = backoff_ms(commit.tries, failure.retry_after_ms, cx.config, cx.draws);
            commit.retry_at = Some(cx.now.after_ms(delay_ms));
        }
    }

    /// When a commit is to be tried again.
    pub(crate) fn commit_deadline(&self) -> Option<MachineTime> {
        match &self.phase {
            Phase::Committing(_, commit) => commit.retry_at,
            Phase::Idle | Phase::Planning(_) | Phase::Loading(..) | Phase::Writing(_) => None,
        }
    }

    /// Tries a refused commit, or to read an unknown one back, again when its delay has passed.
    pub(crate) fn retry_commit(&mut self, tables: &Tables, ingest: &Ingest, cx: &mut Context<'_>) {
        if self.commit_deadline().is_none_or(|due| due > cx.now) {
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Committing(run, mut commit) if commit.is_unknown => {
                (commit.is_unknown, commit.retry_at) = (false, None);
                self.phase = Phase::Committing(run, commit);
                read_commit_back(cx);
            }
            Phase::Committing(run, commit) => self.issue_commit(run, commit, tables, ingest, cx),
            other @ (Phase::Idle | Phase::Planning(_) | Phase::Loading(..) | Phase::Writing(_)) => self.phase = other,
        }
    }

    fn committed(&mut self, tables: &mut Tables, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let Phase::Committing(run, commit) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            panic!("a commit was saved while the flush was elsewhere");
        };
        self.journal_failures = 0;
        self.row = commit.next;
        tables.hints_saved(&commit.hinted);
        let unparked = self.settle_parked(&run, commit.parking, ingest, cx);
        let mut last = LastFlush {
            flush: run.flush,
            ended_ms: cx.wall.0,
            duration_ms: cx.now.since_ms(run.since),
            batches: run.places.len() as u64,
            ..LastFlush::default()
        };
        let Run { places, parts, raw_bytes, .. } = *run;
        for (part, (ident, pointer, figures)) in parts.into_values().zip(commit.tables) {
            last.snapshots.push(figures.snapshot_id);
            last.events += part.shares.iter().map(|share| u64::from(share.key.events)).sum::<u64>();
            for file in &part.files {
                last.paths.push(file.file_path.clone());
                last.bytes += file.file_size_bytes;
                self.stats.rows += file.metrics.record_count;
                self.stats.files += 1;
            }
            self.hints.want(&part.root, version_hint(&pointer.metadata_location).to_owned(), cx.now);
            self.bases.put(ident.clone(), base_after(part, &pointer));
            tables.committed(ident, pointer, figures);
        }
        let persisted = Persisted { path: last.paths.first().cloned(), snapshot_id: last.snapshots.first().copied() };
        if !places.is_empty() {
            self.last_flush = cx.now;
        }
        // A flush that only held tables back is none that anyone asks for.
        if !(places.is_empty() && last.snapshots.is_empty()) {
            self.given_back = (0, BTreeSet::new());
            self.count(last, raw_bytes);
        }
        ingest.release(&places, &persisted, cx);
        ingest.unparked(&unparked, &persisted, cx);
    }

    fn count(&mut self, last: LastFlush, raw_bytes: u64) {
        self.stats.flushes += 1;
        self.stats.batches += last.batches;
        self.stats.events += last.events;
        self.stats.file_bytes += last.bytes;
        self.stats.raw_bytes += raw_bytes;
        self.requests.flush_ended(&last);
        self.stats.last = Some(last);
    }

    /// Follows what a commit parked, tried, or brought into the lake. Returns how many parked events of each source are
    /// in the lake now.
    fn settle_parked(
        &mut self,
        run: &Run,
        parking: Vec<(u64, Share)>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) -> BTreeMap<String, u64> {
        let mut unparked: BTreeMap<String, u64> = BTreeMap::new();
        for (number, key) in retried(run) {
            self.parked.remove(&key.table, number, cx.now);
            ingest.held.remove(key);
            *unparked.entry(key.source.clone()).or_default() += u64::from(key.events);
        }
        for (number, Share { key, .. }) in parking {
            ingest.held.add(&key);
            self.parked.add(number, key, cx.now);
        }
        for table in &run.given_up {
            let failures = self.parked.get(table).map_or(0, |table| table.failures);
            let delay_ms = backoff_ms(TABLE_ATTEMPTS_MAX + failures, None, cx.config, cx.draws);
            self.parked.failed(table, cx.now.after_ms(delay_ms.min(cx.config.flush_interval_ms)));
        }
        unparked
    }
}

/// The parked entries whose events a flush brings into the lake.
fn retried(run: &Run) -> impl Iterator<Item = (u64, &ParkedKey)> {
    let shares = run.parts.values().flat_map(|part| &part.shares);
    shares.filter_map(|share| Some((share.parked?, &share.key)))
}

/// What the tables of a flush no longer name, and what given up parts may have written, which nothing names.
fn garbage(run: &Run) -> Vec<(String, i64)> {
    let staged = run.parts.values().filter_map(|part| part.staged.as_ref());
    let dropped =
        staged.flat_map(|staged| &staged.garbage).map(|garbage| (garbage.location.clone(), garbage.named_below));
    dropped.chain(run.abandoned.iter().map(|location| (location.clone(), 0))).collect()
}

/// Whether an unknown commit took effect decides everything: the row that it writes is read back.
fn read_commit_back(cx: &mut Context<'_>) {
    let key = Key::from_static(FLUSH_KEY);
    let after = Key::from([FLUSH_KEY, &[0]].concat());
    cx.load((key, after), Pending::ReadBackCommit);
}

fn moved(part: &TablePart, run: &Run, cx: &Context<'_>) -> (TableIdent, TablePointer, TableFigures) {
    let staged = part.staged.as_ref().expect("a flush commits when every table is staged");
    let pointer = TablePointer { metadata_location: staged.metadata_location.clone(), ..part.pointer.clone() };
    let totals = staged.metadata.totals();
    let figures = TableFigures {
        snapshot_id: staged.metadata.current_snapshot_id.expect("an append makes a snapshot"),
        rows: totals.rows.unwrap_or(0),
        files: totals.data_files.unwrap_or(0),
        bytes: totals.bytes.unwrap_or(0),
        flush: run.flush,
        committed_ms: cx.wall.0,
        newest_event_ms: part.newest_event_ms,
        hinted: false,
    };
    (part.ident.clone(), pointer, figures)
}

fn base_after(part: TablePart, pointer: &TablePointer) -> Arc<Base> {
    let staged = part.staged.expect("a flush commits when every table is staged");
    let weight = weigh(part.metadata_bytes, &staged.manifests);
    Arc::new(Base {
        metadata: staged.metadata,
        location: pointer.metadata_location.clone(),
        manifests: staged.manifests,
        frontier: part.frontier,
        weight,
    })
}
