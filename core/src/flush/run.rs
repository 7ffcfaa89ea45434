//! A flush under way: its batches, and one part for each table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::ident::TableIdent;
use crate::catalog::state::Tables;
use crate::command::{Command, Key, Outcome};
use crate::config::Config;
use crate::context::Context;
use crate::flush::call::StoreCall;
use crate::flush::parked::{Choice, Parked, ParkedKey, Share, bytes_of};
use crate::flush::table::TablePart;
use crate::flush::{Bases, Flusher, Phase};
use crate::ingest::Ingest;
use crate::ingest::buffer::BatchKey;
use crate::journal::{self, Family};
use crate::pending::Pending;
use crate::table::job::JobOutput;
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
    pub(crate) raw_bytes: u64,
    /// Not all that was planned is taken: full parked tables would have had to load too much for it.
    is_cut: bool,
    batches: BTreeMap<u64, (BatchKey, Arc<CdcBatch>)>,
    /// New events by table, until its part begins.
    shares: BTreeMap<String, Vec<Share>>,
    /// Parked events that are tried, by number: those still being loaded, and those at hand.
    wanted: BTreeMap<u64, ParkedKey>,
    retried: BTreeMap<u64, Share>,
    pub(crate) parts: BTreeMap<String, TablePart>,
    /// New events that the commit parks, in the order in which they take effect.
    pub(crate) parking: Vec<Share>,
    /// Tables whose part was given up.
    pub(crate) given_up: Vec<String>,
    /// Where parts that were given up may have left objects.
    pub(crate) abandoned: Vec<String>,
}

impl Run {
    pub(crate) fn new(flush: u64, attempt: u32, places: Vec<u64>, since: MachineTime) -> Run {
        Run {
            flush,
            attempt,
            places,
            since,
            raw_bytes: 0,
            is_cut: false,
            batches: BTreeMap::new(),
            shares: BTreeMap::new(),
            wanted: BTreeMap::new(),
            retried: BTreeMap::new(),
            parts: BTreeMap::new(),
            parking: Vec::new(),
            given_up: Vec::new(),
            abandoned: Vec::new(),
        }
    }

    /// Flush and attempt: what loads of it carry.
    fn name(&self) -> (u64, u32) {
        (self.flush, self.attempt)
    }

    /// Takes the hot batches and loads the cold ones. Returns how many are being loaded.
    pub(crate) fn load(&mut self, ingest: &Ingest, cx: &mut Context<'_>) -> usize {
        let mut missing = 0;
        for &place in &self.places {
            let batch = ingest.buffer.get(place).expect("planned batches stay in the buffer until released");
            if batch.key.events == 0 {
                continue;
            }
            match &batch.hot {
                Some(hot) => {
                    self.batches.insert(place, (batch.key.clone(), hot.clone()));
                }
                None => {
                    missing += 1;
                    Entry::New(place).load(self.name(), cx);
                }
            }
        }
        missing
    }

    /// Sorts the new events by table. In the order of their events: a hole that was filled has a later place than what waited
    /// above it. Parked tables that are full load as much as they get, each of them: what would be too much together is left
    /// to the next flush, though at least one batch is taken. Returns what they load.
    fn share_out(&mut self, parked: &Parked, max_bytes: u64, load_bytes_max: u64) -> u64 {
        let mut new_bytes: BTreeMap<String, u64> = BTreeMap::new();
        let mut load_bytes = 0;
        for (at, place) in self.places.iter().enumerate() {
            let Some((key, batch)) = self.batches.remove(place) else { continue };
            let shares = Share::of(&key, &batch);
            let former = load_bytes;
            for share in &shares {
                let new_bytes = new_bytes.entry(share.key.table.clone()).or_default();
                let before = parked.surplus(&share.key.table, *new_bytes, max_bytes);
                *new_bytes += share.key.bytes();
                load_bytes += parked.surplus(&share.key.table, *new_bytes, max_bytes) - before;
            }
            if load_bytes > load_bytes_max && !self.shares.is_empty() {
                self.is_cut = true;
                self.places.truncate(at);
                self.batches.clear();
                return former;
            }
            self.raw_bytes += u64::from(key.frame_bytes);
            for share in shares {
                self.shares.entry(share.key.table.clone()).or_default().push(share);
            }
        }
        load_bytes
    }

    /// Sorts the new events by table, and decides which parked tables are tried: those go first. Returns the entries to
    /// load.
    fn sort(&mut self, parked: &Parked, config: &Config, now: MachineTime) -> Vec<u64> {
        if mutant!(FlushReversed) {
            self.places.reverse();
        }
        let max_bytes = config.max_parked_bytes;
        let load_bytes_max = Flusher::plan_bytes_max(config);
        // What full tables must load comes first. It leaves half to those that are tried because their time has come.
        let mut left = load_bytes_max.saturating_sub(self.share_out(parked, max_bytes, load_bytes_max / 2));
        // Whose time came first is first, so that none waits for ever behind one that is tried again and again.
        let mut by_time: Vec<_> = parked.tables().collect();
        by_time.sort_by_key(|(_, table)| table.retry_at);
        for (name, _) in by_time {
            let new_bytes = self.shares.get(name).map_or(0, bytes_of);
            let all = match parked.choose(name, new_bytes, max_bytes, &mut left, now) {
                Choice::Wait => false,
                Choice::Try { entries, all } => {
                    self.wanted.extend(entries);
                    all
                }
            };
            if !all && !mutant!(ParkedOvertaken) {
                self.parking.extend(self.shares.remove(name).unwrap_or_default());
            }
        }
        self.wanted.keys().copied().collect()
    }

    /// Starts each table's part, parked events before new ones.
    fn begin(&mut self, tables: &Tables, bases: &mut Bases, cx: &mut Context<'_>) {
        let mut by_table: BTreeMap<String, Vec<Share>> = BTreeMap::new();
        for share in std::mem::take(&mut self.retried).into_values() {
            by_table.entry(share.key.table.clone()).or_default().push(share);
        }
        for (name, shares) in std::mem::take(&mut self.shares) {
            by_table.entry(name).or_default().extend(shares);
        }
        let mut taken: BTreeSet<TableIdent> = BTreeSet::new();
        for (name, shares) in by_table {
            let mut part = TablePart::new(name.clone(), shares, tables, &taken, cx);
            taken.insert(part.ident.clone());
            part.begin(self.flush, bases, cx);
            self.parts.insert(name, part);
        }
    }

    /// A store command had its effect. Returns what is wrong with what it brought, if anything is.
    pub(crate) fn stored(&mut self, call: &StoreCall, bytes: &Bytes, cx: &mut Context<'_>) -> Option<String> {
        let (flush, attempt) = (self.flush, self.attempt);
        self.parts.get_mut(&call.table)?.stored(flush, attempt, &call.action, bytes, cx).err()
    }

    /// Whether every table's objects are in the store.
    pub(crate) fn is_ready(&self) -> bool {
        self.parts.values().all(TablePart::is_ready)
    }

    /// The tables that alone hold up the flush, because they failed too often; none while another is still under way.
    pub(crate) fn stuck(&self) -> Vec<String> {
        if self.parts.values().any(|part| !part.is_ready() && !part.is_stuck()) {
            return Vec::new();
        }
        self.parts.iter().filter(|(_, part)| !part.is_ready()).map(|(name, _)| name.clone()).collect()
    }

    /// Takes a table's part out of the flush. What it may have written is garbage.
    fn give_up_part(&mut self, table: &str) -> Vec<Share> {
        let part = self.parts.remove(table).expect("a part is given up once");
        let (shares, written) = part.give_up();
        self.abandoned.extend(written);
        self.given_up.push(table.to_owned());
        shares
    }

    /// Parks a table: its new events go to the entries that wait. Those that were parked before stay where they are.
    fn park(&mut self, table: &str) {
        let shares = self.give_up_part(table);
        self.parking.extend(shares.into_iter().filter(|share| share.parked.is_none() && !mutant!(ParkedShareLost)));
    }

    /// Gives everything back: what is committed is only that this flush is over.
    fn give_back(&mut self) {
        let tables: Vec<String> = self.parts.keys().cloned().collect();
        for table in tables {
            self.give_up_part(&table);
        }
        self.places.clear();
        self.parking.clear();
    }
}

/// An entry of the journal with events that a flush wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The batch at this place.
    New(u64),
    /// The parked share with this number.
    Parked(u64),
}

impl Entry {
    fn load(self, run: (u64, u32), cx: &mut Context<'_>) {
        let range = match self {
            Entry::New(place) => Family::Batch.range(place),
            Entry::Parked(number) => Family::Parked.range(number),
        };
        cx.load(range, Pending::LoadEntry { run, entry: self });
    }

    /// The batch in its chunks. The error says what is wrong with the journal.
    fn read(self, chunks: Vec<(Key, Bytes)>) -> Result<Arc<CdcBatch>, String> {
        let frame = journal::join(chunks).ok_or_else(|| format!("the journal lost {self:?}, which was acked"))?;
        let batch = reread(frame);
        batch.map(Arc::new).map_err(|error| format!("the journal's {self:?} was accepted and cannot be read: {error}"))
    }
}

impl Flusher {
    /// The flush that loads for `run`, and how many are missing. A load of one that was given up finds none.
    fn loading(&mut self, name: (u64, u32)) -> Option<(Box<Run>, usize)> {
        if !matches!(&self.phase, Phase::Loading(run, _) if run.name() == name) {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Loading(run, missing) => Some((run, missing)),
            Phase::Idle | Phase::Planning(_) | Phase::Writing(_) | Phase::Committing(..) => None,
        }
    }

    /// A cold batch, or a parked share that is tried again, came back from the journal.
    pub(crate) fn entry_loaded(
        &mut self,
        name: (u64, u32),
        entry: Entry,
        outcome: Outcome,
        tables: &Tables,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let Some((mut run, missing)) = self.loading(name) else { return };
        let batch = match outcome.of_load().done().map(|chunks| entry.read(chunks)) {
            Ok(Ok(batch)) => batch,
            Ok(Err(reason)) => return cx.out.push(Command::Halt { reason }),
            Err(failure) => return self.give_up(&failure.message, cx),
        };
        match entry {
            Entry::New(place) => {
                let buffered = ingest.buffer.get(place).expect("planned batches stay in the buffer until released");
                run.batches.insert(place, (buffered.key.clone(), batch));
            }
            Entry::Parked(number) => {
                let key = run.wanted.remove(&number).expect("an entry is loaded once");
                run.retried.insert(number, Share { key, batch, parked: Some(number) });
            }
        }
        self.phase = match (missing - 1, entry) {
            (0, Entry::New(_)) => self.take_up(run, tables, cx),
            (0, Entry::Parked(_)) => self.start(run, tables, cx),
            (missing, _) => Phase::Loading(run, missing),
        };
        self.go_on(tables, ingest, cx);
    }

    /// All new batches are there: parked events that are tried with them are loaded.
    pub(crate) fn take_up(&mut self, mut run: Box<Run>, tables: &Tables, cx: &mut Context<'_>) -> Phase {
        let numbers = run.sort(&self.parked, cx.config, cx.now);
        for &number in &numbers {
            Entry::Parked(number).load(run.name(), cx);
        }
        if numbers.is_empty() { self.start(run, tables, cx) } else { Phase::Loading(run, numbers.len()) }
    }

    /// Ends a flush that has written nothing yet. What it planned stays where it is.
    fn give_up(&mut self, why: &str, cx: &Context<'_>) {
        self.phase = Phase::Idle;
        self.journal_failures += 1;
        self.stats.last_error = Some(format!("the journal cannot be read: {why}"));
        self.hold_off(cx);
    }

    /// All batches are there: every table begins.
    fn start(&mut self, mut run: Box<Run>, tables: &Tables, cx: &mut Context<'_>) -> Phase {
        self.journal_failures = 0;
        self.started = Some(run.name());
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

    /// Commits when every table is ready, or held back.
    pub(crate) fn go_on(&mut self, tables: &Tables, ingest: &mut Ingest, cx: &mut Context<'_>) {
        self.hold_back_stuck(ingest, cx);
        if matches!(&self.phase, Phase::Writing(run) if run.is_ready()) {
            let Phase::Writing(run) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
            self.commit(run, tables, ingest, cx);
        }
    }

    /// Lets a flush go on that some tables hold up. They are parked if the store is known to take other tables, or if
    /// they were parked before. If nobody knows, because the flush has no other table, and others wait behind it, new
    /// events or parked ones whose time has come, the flush is given back, so that the next one takes them together, where
    /// the tables may be parked then; if these alone fill a flush, or what they may take of it, they are parked.
    fn hold_back_stuck(&mut self, ingest: &Ingest, cx: &Context<'_>) {
        let Phase::Writing(run) = &mut self.phase else { return };
        let stuck = run.stuck();
        if stuck.is_empty() {
            return;
        }
        let part_of = |name: &String| run.parts.get(name);
        let max_bytes = cx.config.max_parked_bytes;
        // What the commit would park of it: its part's new events, and those that stand aside while older ones are tried.
        let more_bytes = |name: &String| {
            let aside = run.parking.iter().filter(|share| share.key.table == *name);
            part_of(name).map_or(0, TablePart::new_bytes) + bytes_of(aside)
        };
        let has_room = |name: &String| match more_bytes(name) {
            0 => true,
            more => self.parked.has_room(name, more, max_bytes),
        };
        let parkable = stuck.iter().all(has_room);
        let parked_before = stuck.iter().filter_map(part_of).all(TablePart::is_retry);
        let others_got_through = run.parts.len() > stuck.len();
        let may_be_joined = !others_got_through
            && (self.parked.another_is_due(&run.parts, cx.now)
                || !run.is_cut && others_wait(run, ingest, Flusher::plan_bytes_max(cx.config)));
        let are_in_the_way = !others_got_through && !may_be_joined && others_wait(run, ingest, u64::MAX);
        if parkable && (others_got_through || parked_before || are_in_the_way) {
            stuck.iter().for_each(|name| run.park(name));
            if others_got_through && !parked_before {
                self.breaker.succeeded();
            }
        } else if may_be_joined && parkable {
            run.give_back();
            self.given_back.0 += 1;
            self.given_back.1.extend(stuck.iter().cloned());
            self.hold_off(cx);
        } else {
            return;
        }
        self.retries.retain(|(_, call)| !stuck.contains(&call.table));
    }
}

/// Whether batches that a flush of so many bytes would take with these have events of other tables, as far as memory tells.
fn others_wait(run: &Run, ingest: &Ingest, max_bytes: u64) -> bool {
    let next = ingest.buffer.plan(max_bytes);
    // The places of a flush stand in the order of their events.
    let own: BTreeSet<u64> = run.places.iter().copied().collect();
    let others = next.into_iter().filter(|place| !own.contains(place));
    others.filter_map(|place| ingest.buffer.get(place)).any(|batch| match &batch.hot {
        Some(hot) => hot.tables.iter().any(|table| !run.parts.contains_key(table)),
        None => batch.key.events > 0,
    })
}
