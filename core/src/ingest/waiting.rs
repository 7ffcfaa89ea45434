//! What comes while its source is being read from the journal: it waits, as far as there is memory, or is refused; and what
//! was refused before its source was asked, which a sparse source has to know of.

use crate::context::Context;
use crate::event::ConnId;
use crate::ingest::answers::Refused;
use crate::ingest::source::Refused as RefusedBatch;
use crate::ingest::{Arrived, Ingest, Input, Origin, RefusedBefore, Slot};
use crate::limits::CONNECTS_WAITING_MAX;
use crate::wire::NackReason;
use crate::wire::client::Connect;

impl Ingest {
    /// A batch was refused before its source was asked.
    pub(crate) fn refused_before(&mut self, refused: RefusedBefore, cx: &mut Context<'_>) {
        // Nobody is loaded for a message that may be of anybody.
        if refused.sparse || refused.conn.is_none() || self.sources.contains_key(&refused.source) {
            self.enter(&refused.source.clone(), Input::Refused(refused), cx);
        }
    }

    /// A source is to know of it.
    pub(super) fn note_refused(&mut self, refused: &RefusedBefore, cx: &mut Context<'_>) {
        let rules = self.rules(cx.config);
        let RefusedBefore { source, epoch, number, retry, batch, sparse, conn: _ } = refused;
        let newest = self.state(source).and_then(|state| state.source.epochs().last().map(str::to_owned));
        let epoch = &epoch.clone().or(newest).unwrap_or_default();
        let waiting = self.waiting.values().flatten();
        let before = waiting.filter(|other| other.batch.source_do_id == *source && other.epoch == *epoch);
        let after = before.map(|other| other.batch.sequence_number).max().unwrap_or(0);
        if let Some(state) = self.state(source) {
            let events = batch.as_ref().map(|batch| &batch.events[..]);
            let refusal = RefusedBatch { epoch, number: *number, after, events, retry: *retry, sparse: *sparse };
            state.source.refused(&refusal, cx.now, &rules);
        }
        self.save_changed(source, cx);
    }

    /// A source is not at hand yet: what is to wait for it, if anything. Memory is not for those who send while the journal
    /// cannot be read.
    pub(super) fn admit_to_wait(&mut self, input: Input, cx: &mut Context<'_>) -> Option<Input> {
        let arrived = match input {
            Input::Batch(arrived) => arrived,
            Input::Connect(conn, _, ref connect) if self.connects_waiting(conn, connect) >= CONNECTS_WAITING_MAX => {
                self.conns.shut(conn, "too many connects wait for their source to be read from the journal", cx.out);
                return None;
            }
            Input::Connect(..) => return Some(input),
            Input::Refused(refused) => return self.admit_refused(refused, cx),
        };
        if self.may_wait(&arrived, cx) {
            self.unplaced.insert(arrived.turn);
            self.waiting_memory += arrived.memory_bytes();
            return Some(Input::Batch(arrived));
        }
        let message = "too many batches wait for their sources to be read from the journal: send it again later";
        let refused = Refused::retry(NackReason::BufferFull, message, cx);
        match arrived.origin {
            // What comes next on it would cover this one, and who waits for a source does not know.
            Origin::Conn(conn, _) if arrived.opening.sparse => {
                self.conns.shut(conn, message, cx.out);
                None
            }
            // Its connection may have left unsaid that its epoch is sparse.
            Origin::Conn(..) | Origin::Call(_) => {
                self.refuse(&arrived, &refused, cx);
                let refused = RefusedBefore {
                    source: arrived.batch.source_do_id.clone(),
                    epoch: Some(arrived.epoch),
                    number: Some(arrived.batch.sequence_number),
                    retry: true,
                    batch: None,
                    sparse: arrived.opening.sparse,
                    conn: arrived.origin.conn(),
                };
                self.admit_refused(refused, cx)
            }
        }
    }

    /// What was refused before its source was asked is remembered until that is at hand; without its events where there is no
    /// memory for a batch, and not where there is none for that: then its connection is closed, as where a sparse batch
    /// cannot wait.
    fn admit_refused(&mut self, mut refused: RefusedBefore, cx: &mut Context<'_>) -> Option<Input> {
        let quarter = cx.config.memory_budget_bytes / 4;
        if self.waiting_memory + refused.memory_bytes() > quarter {
            refused.batch = None;
        }
        let Some(Slot::Loading(waiting)) = self.sources.get(&refused.source) else {
            return Some(Input::Refused(refused));
        };
        let notes = waiting.iter().filter_map(|input| match input {
            Input::Refused(note) => Some(note),
            Input::Batch(_) | Input::Connect(..) => None,
        });
        // Who gets no further comes again and again: no more is known of it than of the same before.
        let is_about = |note: &&RefusedBefore| note.number.is_some() && note.number == refused.number;
        let same = notes.clone().rev().find(|note| is_about(note) && note.epoch == refused.epoch);
        let is_known = same.is_some_and(|note| note.retry == refused.retry && (note.sparse || !refused.sparse));
        if refused.batch.is_none() && is_known {
            return None;
        }
        // Notes of batches that found no room have some where batches have none. Nobody can be cut off who is not connected: of
        // such a source there is always one, which keeps others away.
        let has_room = self.waiting_memory + refused.memory_bytes() <= quarter + quarter / 2;
        if has_room || refused.conn.is_none() && !notes.clone().any(|note| note.retry || !refused.retry) {
            self.waiting_memory += refused.memory_bytes();
            return Some(Input::Refused(refused));
        }
        if let Some(conn) = refused.conn {
            self.conns.shut(conn, "too many messages wait for their source to be read from the journal", cx.out);
        }
        None
    }

    /// How many of a connection's `connect`s wait for the source that this one names, too.
    fn connects_waiting(&self, conn: ConnId, connect: &Connect) -> usize {
        let is_of_conn = |other: &&Input| matches!(other, Input::Connect(of, ..) if *of == conn);
        match self.sources.get(&connect.source_do_id) {
            Some(Slot::Loading(waiting)) => waiting.iter().filter(is_of_conn).count(),
            Some(Slot::Ready(_)) | None => 0,
        }
    }

    /// Whether there is memory for a batch that has to wait before its turn.
    pub(super) fn may_wait(&self, arrived: &Arrived, cx: &Context<'_>) -> bool {
        let most = cx.config.memory_budget_bytes / 4;
        self.waiting_memory == 0 || self.waiting_memory + arrived.memory_bytes() <= most
    }
}
