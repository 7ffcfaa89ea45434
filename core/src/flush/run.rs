//! A flush under way: its batches, and one part for each table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::ident::TableIdent;
use crate::catalog::state::Tables;
use crate::command::Outcome;
use crate::context::Context;
use crate::flush::call::StoreCall;
use crate::flush::table::{Source, TablePart};
use crate::flush::{Bases, Flusher, Phase};
use crate::ingest::Ingest;
use crate::ingest::buffer::BatchKey;
use crate::journal::{self, Family};
use crate::limits::TABLE_ATTEMPTS_MAX;
use crate::pending::Pending;
use crate::table::job::{JobBatch, JobOutput};
use crate::time::MachineTime;
use crate::wire::batch::CdcBatch;
use crate::wire::reread;

/// What one flush takes and makes.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) flush: u64,
    pub(crate) attempt: u32,
    pub(crate) places: Vec<u64>,
    pub(crate) since: MachineTime,
    pub(crate) events: u64,
    pub(crate) raw_bytes: u64,
    batches: BTreeMap<u64, (BatchKey, Arc<CdcBatch>)>,
    pub(crate) parts: BTreeMap<String, TablePart>,
}

impl Run {
    pub(crate) fn new(flush: u64, attempt: u32, places: Vec<u64>, since: MachineTime) -> Run {
        Run { flush, attempt, places, since, events: 0, raw_bytes: 0, batches: BTreeMap::new(), parts: BTreeMap::new() }
    }

    /// Takes the hot batches and loads the cold ones. Returns how many are being loaded.
    pub(crate) fn load(&mut self, ingest: &Ingest, cx: &mut Context<'_>) -> usize {
        let mut missing = 0;
        for &place in &self.places {
            let batch = ingest.buffer.get(place).expect("planned batches stay in the buffer until released");
            self.events += u64::from(batch.key.events);
            self.raw_bytes += u64::from(batch.key.frame_bytes);
            if batch.key.events == 0 {
                continue;
            }
            match &batch.hot {
                Some(hot) => {
                    self.batches.insert(place, (batch.key.clone(), hot.clone()));
                }
                None => {
                    missing += 1;
                    cx.load(Family::Batch.range(place), Pending::LoadBatch { place });
                }
            }
        }
        missing
    }

    fn loaded(&mut self, place: u64, key: BatchKey, frame: Bytes) {
        let batch = reread(frame).unwrap_or_else(|error| {
            panic!("the journal's batch at place {place} was accepted once and is unreadable now: {error}")
        });
        self.batches.insert(place, (key, Arc::new(batch)));
    }

    /// Sorts the events by table and starts each table's part.
    fn begin(&mut self, tables: &Tables, bases: &mut Bases, cx: &mut Context<'_>) {
        let mut by_table: BTreeMap<String, (Vec<JobBatch>, Vec<Source>)> = BTreeMap::new();
        for place in &self.places {
            let Some((key, batch)) = self.batches.remove(place) else { continue };
            let head = &key.head;
            for (index, name) in batch.tables.iter().enumerate() {
                let touched = match &head.taken {
                    None => true,
                    Some(taken) => batch.events.iter().any(|event| {
                        usize::from(event.table) == index
                            && taken.iter().any(|(first, last)| (*first..=*last).contains(&event.sequence))
                    }),
                };
                if !touched {
                    continue;
                }
                let (batches, sources) = by_table.entry(name.clone()).or_default();
                batches.push(JobBatch {
                    batch: batch.clone(),
                    epoch: head.epoch.to_string(),
                    taken: head.taken.clone(),
                });
                sources.push(Source {
                    name: key.source.clone(),
                    epoch: head.epoch.to_string(),
                    first: head.number,
                    through: head.number,
                    event: head.last,
                });
            }
        }
        let mut taken: BTreeSet<TableIdent> = BTreeSet::new();
        for (name, (batches, sources)) in by_table {
            let mut part = TablePart::new(name.clone(), batches, sources, tables, &taken, cx);
            taken.insert(part.ident.clone());
            part.begin(self.flush, bases, cx);
            self.parts.insert(name, part);
        }
    }

    /// A store command had its effect. Returns what is wrong with what it brought, if anything is.
    pub(crate) fn stored(
        &mut self,
        call: &StoreCall,
        bytes: Bytes,
        _tables: &Tables,
        cx: &mut Context<'_>,
    ) -> Option<String> {
        let (flush, attempt) = (self.flush, self.attempt);
        self.parts.get_mut(&call.table)?.stored(flush, attempt, &call.action, bytes, cx).err()
    }

    /// A store command of a table failed.
    pub(crate) fn failed(&mut self, table: &str) {
        if let Some(part) = self.parts.get_mut(table) {
            part.failures += 1;
        }
    }

    /// Whether every table's objects are in the store.
    pub(crate) fn is_ready(&self) -> bool {
        self.parts.values().all(TablePart::is_ready)
    }

    /// The tables that hold up the others: they failed too often while another got through.
    pub(crate) fn stuck(&self) -> Vec<String> {
        if !self.parts.values().any(TablePart::is_ready) {
            return Vec::new();
        }
        let stuck = self.parts.iter().filter(|(_, part)| !part.is_ready() && part.failures >= TABLE_ATTEMPTS_MAX);
        stuck.map(|(name, _)| name.clone()).collect()
    }
}

impl Flusher {
    /// A cold batch came back from the journal.
    pub(crate) fn batch_loaded(
        &mut self,
        place: u64,
        outcome: Outcome,
        tables: &Tables,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let Phase::Loading(mut run, missing) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return; // This load belongs to a flush that was given up.
        };
        let frame = match outcome {
            Outcome::Loaded(chunks) => journal::join(chunks),
            Outcome::Refused(failure) | Outcome::Unknown(failure) => {
                self.give_up(&failure.message, cx);
                return;
            }
            outcome @ (Outcome::Saved
            | Outcome::Put
            | Outcome::Got(_)
            | Outcome::Deleted
            | Outcome::Worked(_)
            | Outcome::Absent
            | Outcome::Conflict) => panic!("a host answered a load with {outcome:?}"),
        };
        let frame = frame.unwrap_or_else(|| panic!("the journal lost the batch at place {place}"));
        let key = ingest.buffer.get(place).expect("planned batches stay in the buffer until released").key.clone();
        run.loaded(place, key, frame);
        self.phase = match missing - 1 {
            0 => self.start(run, tables, cx),
            missing => Phase::Loading(run, missing),
        };
        self.go_on(tables, ingest, cx);
    }

    /// Ends a flush that has written nothing yet. What it planned stays in the buffer.
    fn give_up(&mut self, why: &str, cx: &Context<'_>) {
        self.phase = Phase::Idle;
        self.stats.last_error = Some(format!("the journal cannot be read: {why}"));
        self.hold_off(cx);
    }

    /// All batches are there: every table begins.
    pub(crate) fn start(&mut self, mut run: Box<Run>, tables: &Tables, cx: &mut Context<'_>) -> Phase {
        run.begin(tables, &mut self.bases, cx);
        Phase::Writing(run)
    }

    /// A table's events are encoded.
    pub(crate) fn encoded(
        &mut self,
        table: &str,
        output: JobOutput,
        tables: &Tables,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        if let Phase::Writing(run) = &mut self.phase {
            let (flush, attempt) = (run.flush, run.attempt);
            if let Some(part) = run.parts.get_mut(table) {
                self.stats.rescued_values += output.rescued_values;
                part.encoded(flush, attempt, output, cx);
            }
        }
        self.go_on(tables, ingest, cx);
    }

    /// Commits when every table is ready.
    pub(crate) fn go_on(&mut self, tables: &Tables, ingest: &mut Ingest, cx: &mut Context<'_>) {
        if matches!(&self.phase, Phase::Writing(run) if run.is_ready()) {
            let Phase::Writing(run) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
            self.commit(run, tables, ingest, cx);
        }
    }
}
