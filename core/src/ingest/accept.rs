//! A batch comes: is it new, is there room, is it durable; then it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::split_table_name;
use crate::command::{Ending, Outcome};
use crate::context::Context;
use crate::event::{ConnId, Frame};
use crate::ingest::answers::{self, Refused};
use crate::ingest::buffer::{BatchKey, Buffered};
use crate::ingest::conn::Introduction;
use crate::ingest::source::{Arrival, Below, Opening, Refusal, Refused as RefusedBatch, Take, Verdict};
use crate::ingest::{Arrived, Ingest, Input, Origin, RefusedBefore, Reload, Slot};
use crate::journal::Family;
use crate::journal::rows::source_key;
use crate::limits::BATCH_MEMORY_BYTES;
use crate::pending::Pending;
use crate::wire::batch::CdcBatch;
use crate::wire::client::{ClientMessage, Connect};
use crate::wire::server::{AckStatus, Pong, ServerMessage};
use crate::wire::{NackReason, Named, WireError};
use crate::wire::{WireLimits, parse};

/// A batch whose save is on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    arrived: Arrived,
    processed: u64,
}

/// A message that concerns more than the ingest.
#[derive(Debug)]
pub(crate) enum Forward {
    /// A `flush_request`: who asks, and its correlation id.
    Flush(ConnId, Option<String>),
}

impl Ingest {
    /// A message came.
    pub(crate) fn received(&mut self, conn: ConnId, frame: &Frame, cx: &mut Context<'_>) -> Option<Forward> {
        if !self.conns.is_open(conn) {
            return None;
        }
        self.stats.messages += 1;
        let limits =
            WireLimits { max_payload_bytes: cx.config.max_payload_size, max_event_bytes: cx.config.max_event_size };
        match parse(frame, &limits) {
            Ok(ClientMessage::CdcBatch(batch)) => self.received_batch(conn, batch, cx),
            Ok(ClientMessage::Connect(connect)) => self.introduced(conn, connect, cx),
            Ok(ClientMessage::Heartbeat(heartbeat)) => {
                if let Some(state) = self.state(&heartbeat.source_do_id) {
                    state.last_activity_ms = cx.wall.0;
                }
                let pong = Pong { timestamp: heartbeat.timestamp, server_time: cx.wall.0 };
                self.conns.tell(conn, ServerMessage::Pong(pong), cx.now, cx.out);
            }
            Ok(ClientMessage::FlushRequest(request)) => return Some(Forward::Flush(conn, request.correlation_id)),
            Ok(ClientMessage::Disconnect(_)) => self.conns.finish(conn, cx.out),
            Err(error) => self.malformed(conn, &error, cx),
        }
        None
    }

    /// A `connect` came.
    fn introduced(&mut self, conn: ConnId, connect: Connect, cx: &mut Context<'_>) {
        let ticket = self.conns.ticket(conn);
        let former = self.conns.introduction(conn).map(|introduction| introduction.source.clone());
        if let Some(former) = former.filter(|former| *former != connect.source_do_id) {
            // What its batches leave unsaid, their epoch above all, is said by the one `connect`.
            let message = format!(
                "sourceDoId: expected {former:?}, for which this connection said `connect` before, got {:?}: open a \
                 connection for each source",
                connect.source_do_id
            );
            let refused = answers::nack_connect(&connect, NackReason::InvalidFormat, message, None, cx);
            self.count_nack(NackReason::InvalidFormat);
            self.conns.answer(conn, ticket, refused, cx.now, cx.out);
            return;
        }
        // Now, and not when the source is at hand: what follows leans on it, also in the next life.
        self.conns.introduce(conn, Introduction::of(&connect), cx.out);
        self.enter(&connect.source_do_id.clone(), Input::Connect(conn, ticket, connect), cx);
    }

    fn received_batch(&mut self, conn: ConnId, batch: CdcBatch, cx: &mut Context<'_>) {
        let ticket = self.conns.ticket(conn);
        self.conns.heard(conn, &batch.source_do_id);
        let (epoch, opening) = self.opening(conn, &batch);
        let origin = Origin::Conn(conn, ticket);
        self.take(Arrived { batch: Arc::new(batch), origin, epoch, is_numbered: true, opening, turn: 0 }, cx);
    }

    /// A batch came, on a socket or by `POST /cdc`.
    pub(crate) fn take(&mut self, mut arrived: Arrived, cx: &mut Context<'_>) {
        arrived.turn = self.next_turn;
        self.next_turn += 1;
        if let Some(problem) = impossible(&arrived.batch) {
            let refused = Refused::finally(NackReason::InvalidFormat, problem);
            self.refuse(&arrived, &refused, cx);
            let batch = &arrived.batch;
            let refused = RefusedBefore {
                source: batch.source_do_id.clone(),
                epoch: Some(arrived.epoch.clone()),
                number: Some(batch.sequence_number),
                retry: false,
                batch: Some(Arc::clone(batch)),
                sparse: arrived.opening.sparse,
                conn: arrived.origin.conn(),
            };
            self.refused_before(refused, cx);
            return;
        }
        let source = arrived.batch.source_do_id.clone();
        self.enter(&source, Input::Batch(arrived), cx);
    }

    fn malformed(&mut self, conn: ConnId, error: &WireError, cx: &mut Context<'_>) {
        let ticket = self.conns.ticket(conn);
        self.count_nack(error.reason);
        let stream = self.stream_of_malformed(conn, &error.named);
        if let Some((source, epoch)) = stream.clone() {
            let introduction = self.conns.introduction(conn);
            let sparse = introduction.is_some_and(|said| said.source == source && said.sparse);
            let number = error.named.sequence_number;
            let epoch = Some(epoch);
            let conn = Some(conn);
            let refused = RefusedBefore { source, epoch, number, retry: false, batch: None, sparse, conn };
            self.refused_before(refused, cx);
        }
        let nack = answers::nack_malformed(error, stream, cx);
        self.conns.answer(conn, ticket, nack, cx.now, cx.out);
        if matches!(error.reason, NackReason::PayloadTooLarge | NackReason::EventTooLarge) {
            self.conns.size_violation(conn, cx.out);
        }
    }

    /// The source and the epoch of a message that could not be read, as far as it, or its connection, named them.
    fn stream_of_malformed(&self, conn: ConnId, named: &Named) -> Option<(String, String)> {
        let said = self.conns.introduction(conn).map(|introduction| introduction.source.clone());
        let source = named.source_do_id.clone().or(said)?;
        let epoch = self.epoch_of(conn, &source, named.source_epoch.as_deref());
        Some((source, epoch))
    }

    /// Saves what was not saved because a flush was being committed.
    pub(crate) fn save_all_changed(&mut self, cx: &mut Context<'_>) {
        let changed = self.states().filter(|(_, state)| state.source.unsaved()).map(|(name, _)| name.clone());
        for name in changed.collect::<Vec<_>>() {
            self.save_changed(&name, cx);
        }
    }

    /// Saves what has changed of a source that no batch tells. One row is on its way at a time: refusals may come faster than
    /// the journal takes rows, and a batch that is taken meanwhile carries what the row on its way does not say.
    pub(super) fn save_changed(&mut self, source: &str, cx: &mut Context<'_>) {
        let committing = self.committing;
        if let Some(state) = self.state(source)
            && !committing
            && !state.is_row_saving
            && state.source.unsaved()
        {
            let row = state.source.to_saved(cx.now).encode();
            state.is_row_saving = true;
            let put = crate::command::Write::Put(source_key(source), row.into());
            cx.save(vec![put], Pending::SaveRow { source: source.to_owned() });
        }
    }

    /// A source's row came into the journal, or did not: then it is written again.
    pub(crate) fn row_saved(&mut self, source: &str, outcome: &Outcome, cx: &mut Context<'_>) {
        if let Some(state) = self.state(source) {
            state.is_row_saving = false;
            if *outcome != Outcome::Saved {
                state.source.row_lost();
                self.reloads.push((cx.now.after_ms(super::RELOAD_MS), Reload::Row(source.to_owned())));
            } else {
                self.save_changed(source, cx);
            }
        }
        self.let_go(source);
    }

    /// The epoch that a batch belongs to: the one that it names, or its connection's.
    fn epoch_of(&self, conn: ConnId, source: &str, named: Option<&str>) -> String {
        let introduction = self.conns.introduction(conn).filter(|introduction| introduction.source == source);
        let said = introduction.map(|introduction| introduction.epoch.as_str());
        named.or(said).unwrap_or_default().to_owned()
    }

    /// The epoch that a batch belongs to, and how its epoch would open if it is the first of it.
    fn opening(&self, conn: ConnId, batch: &CdcBatch) -> (String, Opening) {
        let introduction = self.conns.introduction(conn);
        let introduction = introduction.filter(|introduction| introduction.source == batch.source_do_id);
        let epoch = self.epoch_of(conn, &batch.source_do_id, batch.source_epoch.as_deref());
        let sparse = introduction.is_some_and(|introduction| introduction.sparse);
        let base = introduction.filter(|introduction| introduction.epoch == epoch).map_or(0, |known| known.last_ack);
        (epoch, Opening { base, sparse })
    }

    /// A batch whose source is at hand.
    pub(super) fn arrive(&mut self, arrived: Arrived, cx: &mut Context<'_>) {
        let had_waited = self.unplaced.remove(&arrived.turn);
        let (epoch, opening) = (arrived.epoch.clone(), arrived.opening);
        let rules = self.rules(cx.config);
        let place = self.buffer.upcoming_place();
        let batch = arrived.batch.clone();
        let stopping = self.stopping;
        let open = |conn: &ConnId| self.conns.is_open(*conn);
        let speaker = arrived.origin.conn().filter(open);
        let state = self.state(&batch.source_do_id).expect("the source is loaded before its batches are handled");
        state.last_activity_ms = cx.wall.0;
        if let Some(conn) = speaker
            && !state.conns.contains_key(&conn)
        {
            state.conns.insert(conn, BTreeMap::new());
            state.source.set_connected(true, cx.now);
        }
        let arrival = Arrival {
            place,
            epoch: &epoch,
            number: batch.sequence_number,
            events: &batch.events,
            hash: batch.events_hash,
            bytes: batch.frame.len() as u64,
            conn: arrived.origin.conn(),
            is_numbered: arrived.is_numbered,
            opening,
        };
        let verdict = state.source.arrive(&arrival, cx.now, &rules);
        let passes_over = matches!(&verdict, Verdict::Take(take) if state.source.would_pass_over(&take.head));
        self.save_changed(&batch.source_do_id, cx);
        self.stats.checks += 1;
        match verdict {
            Verdict::Duplicate { .. } => {
                self.stats.duplicates += 1;
                self.ack(&arrived, AckStatus::Duplicate, 0, cx);
            }
            Verdict::Wait { place } if self.has_room(&batch, self.waiting_bytes, cx) && self.may_wait(&arrived, cx) => {
                self.waiting_bytes += batch.frame.len() as u64;
                self.waiting_memory += arrived.memory_bytes();
                self.unplaced.insert(arrived.turn);
                let waiting = self.waiting.entry(place).or_default();
                // Not behind those that came later: one may wait for a batch after the other.
                let at = waiting.partition_point(|other| other.turn < arrived.turn);
                waiting.insert(at, arrived);
            }
            Verdict::Wait { .. } if !self.has_room(&batch, self.waiting_bytes, cx) => self.refuse_full(&arrived, cx),
            Verdict::Wait { .. } => {
                let message = "too many batches wait for one before them to be saved: send it again later";
                self.refuse_new(&arrived, &Refused::retry(NackReason::BufferFull, message, cx), cx);
            }
            Verdict::Refuse(refusal) => {
                self.refuse(&arrived, &from_refusal(&refusal, cx), cx);
                let is_lost = matches!(refusal, Refusal::OtherConnection { .. } | Refusal::TooManyAwaited { .. });
                if let Some(conn) = speaker.filter(|_| is_lost) {
                    // Its producer connects anew, and sends in order all that is not acked.
                    self.conns.shut(
                        conn,
                        "a sparse source connects again and sends all that is not acked, in order",
                        cx.out,
                    );
                }
            }
            Verdict::Take(_) if stopping => {
                let refused =
                    Refused::retry(NackReason::ShuttingDown, "DoLake is stopping: send it again when it is back", cx);
                self.refuse_new(&arrived, &refused, cx);
            }
            Verdict::Take(take)
                if !self.has_room(&batch, 0, cx) && !self.has_room_beside_holes(&batch, take.below, cx) =>
            {
                self.refuse_full(&arrived, cx);
            }
            Verdict::Take(take) if !self.has_memory(take.below, cx) => {
                let message = format!(
                    "{} batches wait for the store, memory holds no more: send it again later, and events in larger batches",
                    self.buffer.all().batches
                );
                let refused = Refused::retry(NackReason::BufferFull, &message, cx);
                self.refuse_new(&arrived, &refused, cx);
            }
            // The row that tells of it is the commit's until that has ended.
            Verdict::Take(_) if passes_over && self.committing => {
                let message = "a flush is being committed, and a batch before this one was refused: send it again";
                self.refuse_new(&arrived, &Refused::retry(NackReason::InvalidSequence, message, cx), cx);
            }
            Verdict::Take(take) => {
                self.placed_late.extend(had_waited.then_some((arrived.turn, take.head.place)));
                self.journal(arrived, &take, cx);
            }
        }
    }

    /// Whether one batch more can be remembered, however small it is. What waits behind holes has half of the room.
    fn has_memory(&self, below: Below, cx: &Context<'_>) -> bool {
        let bytes = (self.buffer.all().batches + 1) * BATCH_MEMORY_BYTES;
        let budget = cx.config.memory_budget_bytes;
        // Where nothing can be flushed, only what fills a hole makes room again.
        let is_needed = self.buffer.ready().batches == 0 && below == Below::Durable;
        bytes <= if below == Below::Hole { budget / 2 } else { budget } || is_needed
    }

    /// Whether a batch fits, `waiting` bytes being ahead of it.
    fn has_room(&self, batch: &CdcBatch, waiting: u64, cx: &Context<'_>) -> bool {
        let bytes = self.buffer.all().bytes + waiting + batch.frame.len() as u64;
        bytes <= answers::capacity(cx) || mutant!(BufferLimitIgnored)
    }

    /// Whether a batch that can come to lie behind no hole fits into the half that holes must leave, or is larger and alone
    /// there: it may be what the others wait for, and would find no room for ever. More than their half may wait behind
    /// holes: it was accepted while a batch below it was on its way to the journal, and that one was lost. Were this room
    /// for such batches, too, each loss would make it anew.
    fn has_room_beside_holes(&self, batch: &CdcBatch, below: Below, cx: &Context<'_>) -> bool {
        let (behind, half) = (self.hole_bytes(), cx.config.max_buffer_size / 2);
        let beside = self.buffer.all().bytes.saturating_sub(behind);
        let fits = beside == 0 || beside + batch.frame.len() as u64 <= half;
        below == Below::Durable && behind > 0 && fits && !mutant!(HolesLeaveNoRoom)
    }

    fn refuse_full(&mut self, arrived: &Arrived, cx: &mut Context<'_>) {
        let (bytes, limit) = (self.buffer.all().bytes + self.waiting_bytes, answers::capacity(cx));
        let message = format!("{bytes} bytes wait for the store, the limit is {limit}: send it again later");
        let refused = Refused::retry(NackReason::BufferFull, &message, cx);
        self.refuse_new(arrived, &refused, cx);
    }

    fn journal(&mut self, arrived: Arrived, take: &Take, cx: &mut Context<'_>) {
        let batch = arrived.batch.clone();
        let place = self.buffer.next_place();
        assert!(place == take.head.place, "place {place} is given to the batch at {}", take.head.place);
        // Nothing of a batch of mere repeats will be flushed; its numbers are all that counts.
        let frame = if take.processed == 0 { bytes::Bytes::new() } else { batch.frame.clone() };
        let key = BatchKey {
            source: batch.source_do_id.clone(),
            events: u32::try_from(take.processed).expect("a batch has at most BATCH_EVENTS_MAX events"),
            frame_bytes: u32::try_from(frame.len()).expect("a frame has at most 32 MiB"),
            head: take.head.clone(),
        };
        let mut writes = Family::Batch.put(place, &key, &frame);
        let committing = self.committing;
        let state = self.state(&batch.source_do_id).expect("the source is loaded");
        state.source.issued(Take::clone(take));
        state.unready.insert(place);
        state.last_received = state.last_received.max(batch.sequence_number);
        if state.source.is_told_by_row(&take.head.epoch) && !committing {
            let row = state.source.to_saved(cx.now).encode();
            writes.push(crate::command::Write::Put(source_key(&batch.source_do_id), row.into()));
        }
        self.stats.repeats += take.repeats;
        let hot = (take.processed > 0).then(|| batch.clone());
        self.buffer.insert(place, Buffered { key, hot, arrived: cx.now }, Ingest::hot_bytes_max(cx.config));
        if mutant!(AckBeforeSave) {
            self.ack(&arrived, AckStatus::Buffered, take.processed, cx);
        }
        self.note_holes(&batch.source_do_id);
        self.flights.insert(place, Flight { arrived, processed: take.processed });
        cx.save(writes, Pending::SaveBatch { place });
    }

    /// A batch's save ended.
    pub(crate) fn batch_saved(&mut self, place: u64, outcome: Outcome, cx: &mut Context<'_>) {
        match outcome.of_save() {
            Ending::Done(()) => self.durable(place, cx),
            Ending::Unknown(_) if mutant!(UnknownSaveAsDone) => self.durable(place, cx),
            Ending::Unknown(failure) if mutant!(UnknownSaveAsFailed) => self.lost(place, &failure.message, cx),
            Ending::Refused(failure) => self.lost(place, &failure.message, cx),
            Ending::Unknown(_) => self.read_back(place, cx),
        }
    }

    /// The key of a batch whose save is unknown was read back.
    pub(crate) fn batch_read_back(&mut self, place: u64, outcome: Outcome, cx: &mut Context<'_>) {
        match outcome.of_load().done() {
            Ok(entries) => {
                self.failed_reads = 0;
                if entries.is_empty() {
                    self.lost(place, "the journal did not take it", cx);
                } else {
                    self.durable(place, cx);
                }
            }
            Err(_) => {
                self.failed_reads += 1;
                self.reloads.push((cx.now.after_ms(super::RELOAD_MS), Reload::Batch(place)));
            }
        }
    }

    fn durable(&mut self, place: u64, cx: &mut Context<'_>) {
        let Flight { arrived, processed } = self.flights.remove(&place).expect("a save ends once");
        let name = arrived.batch.source_do_id.clone();
        let state = self.state(&name).expect("a source with batches stays loaded");
        state.source.durable(place, cx.now);
        state.batches += 1;
        state.events += processed;
        self.find_ready(&name);
        self.stats.batches_accepted += 1;
        self.stats.events_accepted += processed;
        let status = match (processed, cx.store.failing) {
            (0, _) => AckStatus::Duplicate,
            (_, true) => AckStatus::Fallback,
            (_, false) => AckStatus::Buffered,
        };
        self.ack(&arrived, status, processed, cx);
        self.arrive_again(place, cx);
    }

    fn lost(&mut self, place: u64, why: &str, cx: &mut Context<'_>) {
        let Flight { arrived, .. } = self.flights.remove(&place).expect("a save ends once");
        let name = arrived.batch.source_do_id.clone();
        self.buffer.remove(place);
        let state = self.state(&name).expect("a source with batches stays loaded");
        state.source.forget(place, cx.now);
        state.unready.remove(&place);
        self.find_ready(&name);
        let refused =
            Refused::retry(NackReason::InternalError, &format!("the journal failed ({why}): send it again"), cx);
        self.refuse_new(&arrived, &refused, cx);
        self.arrive_again(place, cx);
        if let Some(conn) = arrived.origin.conn()
            && self.conns.introduction(conn).is_some_and(|said| said.sparse)
        {
            // More than this one may be missing, and no number tells: all is sent again, in order.
            self.conns.shut(
                conn,
                "a batch of a sparse source was lost on its way to the journal: connect again",
                cx.out,
            );
        }
        self.let_go(&name);
    }

    fn arrive_again(&mut self, place: u64, cx: &mut Context<'_>) {
        let waiting = self.waiting.remove(&place).unwrap_or_default();
        self.waiting_bytes -= waiting.iter().map(|arrived| arrived.batch.frame.len() as u64).sum::<u64>();
        self.waiting_memory -= waiting.iter().map(Arrived::memory_bytes).sum::<u64>();
        for arrived in waiting {
            if mutant!(WaitingForgotten) {
                continue;
            }
            self.arrive(arrived, cx);
        }
    }

    fn ack(&mut self, arrived: &Arrived, status: AckStatus, processed: u64, cx: &mut Context<'_>) {
        self.stats.acks += 1;
        let ack = answers::ack(&arrived.batch, &arrived.epoch, status, processed, self.buffer.all().bytes, cx);
        self.reply(arrived.origin, ack, cx);
    }

    /// Refuses a batch that the source would take, and lets the source know.
    fn refuse_new(&mut self, arrived: &Arrived, refused: &Refused, cx: &mut Context<'_>) {
        let rules = self.rules(cx.config);
        let batch = &arrived.batch;
        if let Some(state) = self.state(&batch.source_do_id) {
            let refusal = RefusedBatch {
                epoch: &arrived.epoch,
                number: Some(batch.sequence_number),
                after: 0,
                events: Some(&batch.events),
                retry: refused.retry_delay_ms.is_some(),
                sparse: arrived.opening.sparse,
            };
            state.source.refused(&refusal, cx.now, &rules);
        }
        self.save_changed(&arrived.batch.source_do_id, cx);
        self.refuse(arrived, refused, cx);
    }

    pub(super) fn refuse(&mut self, arrived: &Arrived, refused: &Refused, cx: &mut Context<'_>) {
        self.count_nack(refused.reason);
        let nack = answers::nack(&arrived.batch, &arrived.epoch, refused, cx);
        self.reply(arrived.origin, nack, cx);
    }

    fn reply(&mut self, origin: Origin, message: ServerMessage, cx: &mut Context<'_>) {
        match origin {
            Origin::Conn(conn, ticket) => self.conns.answer(conn, ticket, message, cx.now, cx.out),
            Origin::Call(call) => self.replies.push((call, message)),
        }
    }

    pub(super) fn count_nack(&mut self, reason: NackReason) {
        *self.stats.nacks.entry(answers::reason_name(reason)).or_default() += 1;
    }

    /// A socket is gone: its sources may be without one now.
    pub(crate) fn closed(&mut self, conn: ConnId, cx: &Context<'_>) {
        for name in self.conns.close(conn) {
            if let Some(Slot::Ready(state)) = self.sources.get_mut(&name) {
                state.conns.remove(&conn);
                if state.conns.is_empty() {
                    state.source.set_connected(false, cx.now);
                }
            }
            self.let_go(&name);
        }
    }
}

/// Why a batch can never be taken, whatever its source has sent.
fn impossible(batch: &CdcBatch) -> Option<String> {
    let name = batch.tables.iter().find_map(|name| split_table_name(name).err());
    // A second batch that overtook it would cover it, for nothing tells whether events begin with 0 or 1.
    let is_0 = batch.last_event_sequence == 0;
    let alone = || {
        "lastEventSequence: expected at least 1, got 0: number events from 1, or send event 0 with those after it"
            .to_owned()
    };
    name.map(|error| error.to_string()).or_else(|| is_0.then(alone))
}

fn from_refusal(refusal: &Refusal, cx: &mut Context<'_>) -> Refused {
    if refusal.retry() {
        Refused::retry(NackReason::InvalidSequence, &refusal.to_string(), cx)
    } else {
        Refused::finally(NackReason::InvalidSequence, refusal.to_string())
    }
}
