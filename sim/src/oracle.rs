//! Holds what the machine says and does against what was made up.
//!
//! | check | promise |
//! |---|---|
//! | `ack` | 1: what is acked is in the journal or in the lake at that moment |
//! | `mark` | 1: what is called persisted is in the lake at that moment, with all below it |
//! | `resume` | 1: an `ok` passes nothing that is not durable, unless it was named as given up before |
//! | `order of answers` | answers of one connection come in the order of its batches |
//! | `refusal` | a batch is refused for good only for a reason that it gave |
//! | `lake` | 2 and 5: each row is an event, once, value by value; history is a line; all objects are there |
//! | `phantom` | 4: what was refused and not sent again is not in the lake |
//! | `order` | 3: nothing above an open hole is in the lake, no event is overtaken |
//! | `liveness` | 7: all comes to an end once faults stop |
//!
//! Order between rows of one flush is not checked, nor are statistics.

use bytes::Bytes;
use dolake_core::event::{CallId, ConnId};
use dolake_core::wire::NackReason;
use dolake_core::wire::server::{Ack, AckStatus, Nack, ServerMessage};

use crate::lake_view::describe;
use crate::truth::{State, Stream, Uid};
use crate::world::{LOCATION, Tag, World};

/// Simulated time in which all producers must have their answers once faults have stopped, in microseconds.
const ANSWERS_MAX: u64 = 300_000_000;

/// The longest that the store takes, in microseconds.
pub(crate) const SLOW_MAX: u64 = 20_000_000;

/// Time for one answer once faults have stopped.
const ANSWER_MAX: u64 = 15_000_000;

impl World {
    /// A message reached the machine.
    pub(crate) fn note_received(&mut self, conn: ConnId, tag: Tag) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        match tag {
            Tag::Batch(stream, batch) => {
                self.truth.streams[stream].batches[batch].received += 1;
                socket.expects.push_back(tag);
            }
            Tag::Impostor(..) | Tag::Malformed => socket.expects.push_back(tag),
            Tag::Other => {}
        }
    }

    /// Whether an event is in the journal or in the lake.
    fn is_durable(&self, uid: Uid) -> bool {
        self.journal.holds(uid) || self.view.events.contains(&uid)
    }

    fn lost_event(&self, stream: usize, batch: usize) -> Option<Uid> {
        self.truth.streams[stream].batches[batch].events.iter().copied().find(|uid| !self.is_durable(*uid))
    }

    /// The machine sends a message.
    pub(crate) fn answered(&mut self, conn: ConnId, frame: &Bytes) {
        match ServerMessage::from_frame(frame) {
            Ok(ServerMessage::Ack(ack)) => self.acked(conn, &ack),
            Ok(ServerMessage::Nack(nack)) => self.nacked(conn, &nack),
            Ok(ServerMessage::Status(_) | ServerMessage::Pong(_) | ServerMessage::FlushResponse(_)) => {}
            Err(error) => self.fail("wire", format!("a message cannot be read: {error}")),
        }
    }

    fn acked(&mut self, conn: ConnId, ack: &Ack) {
        let source = ack.source_do_id.clone().unwrap_or_default();
        let epoch = ack.source_epoch.clone().unwrap_or_default();
        let Some(stream) = self.truth.find(&source, &epoch) else {
            return self.fail("ack", format!("{source:?} epoch {epoch:?} was never made up"));
        };
        match ack.status {
            AckStatus::Buffered | AckStatus::Fallback | AckStatus::Duplicate => self.batches_acked(conn, stream, ack),
            AckStatus::Persisted => self.marked(conn, stream, ack.sequence_number),
            AckStatus::Ok => self.resumed(conn, stream, ack.sequence_number),
        }
    }

    fn batches_acked(&mut self, conn: ConnId, stream: usize, ack: &Ack) {
        let first = ack.first_sequence.unwrap_or(ack.sequence_number);
        self.count(match ack.status {
            AckStatus::Duplicate => "ack duplicate",
            AckStatus::Fallback => "ack fallback",
            AckStatus::Ok | AckStatus::Buffered | AckStatus::Persisted => "ack buffered",
        });
        if ack.first_sequence.is_some() {
            self.count("ack cumulative");
        }
        loop {
            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            match socket.expects.pop_front() {
                Some(Tag::Batch(of, batch)) if of == stream => {
                    let number = self.truth.streams[stream].batches[batch].number;
                    if !(first..=ack.sequence_number).contains(&number) {
                        let message = format!(
                            "conn {}: ack of {first} to {} answers batch {number}",
                            conn.0, ack.sequence_number
                        );
                        return self.fail("order of answers", message);
                    }
                    if let Some(uid) = self.lost_event(stream, batch) {
                        let event = describe(uid, &self.truth);
                        return self.fail(
                            "ack",
                            format!("batch {number} is acked {:?}, event {event} is nowhere", ack.status),
                        );
                    }
                    self.truth.streams[stream].batches[batch].acked = true;
                    self.last_ack = self.now;
                    if number == ack.sequence_number {
                        return;
                    }
                }
                // Its events are covered and its hash is too old to be compared: told as a repeat, and not taken.
                Some(Tag::Impostor(of, number)) if of == stream && number == ack.sequence_number => {
                    if ack.status != AckStatus::Duplicate {
                        self.fail("ack", format!("an impostor of batch {number} is acked {:?}", ack.status));
                    }
                    return;
                }
                other => {
                    let message =
                        format!("conn {}: ack of {first} to {} where {other:?} waits", conn.0, ack.sequence_number);
                    return self.fail("order of answers", message);
                }
            }
        }
    }

    fn marked(&mut self, conn: ConnId, stream: usize, mark: u64) {
        self.count("persisted mark");
        let told = self.sockets.get(&conn).map(|socket| socket.told_closed.clone()).unwrap_or_default();
        for batch in self.truth.streams[stream].batches.iter().filter(|batch| batch.number <= mark) {
            let missing = batch.events.iter().find(|uid| !self.view.events.contains(uid));
            if let Some(uid) = missing
                && batch.state != State::Refused
                && !told.contains(&(stream, batch.number))
            {
                let message =
                    format!("mark {mark} of stream {stream}: event {} is not in the lake", describe(*uid, &self.truth));
                return self.fail("mark", message);
            }
        }
        if let Some(socket) = self.sockets.get_mut(&conn) {
            let former = socket.mark.insert(stream, mark);
            if former.is_some_and(|former| former > mark) {
                self.fail("mark", format!("the mark of stream {stream} went from {former:?} back to {mark}"));
            }
        }
    }

    fn resumed(&mut self, conn: ConnId, stream: usize, resume: u64) {
        let told = self.sockets.get(&conn).map(|socket| socket.told_closed.clone()).unwrap_or_default();
        for at in 0..self.truth.streams[stream].batches.len() {
            let batch = &self.truth.streams[stream].batches[at];
            // What the producer itself calls acked needs no naming.
            let known = batch.state == State::Refused || told.contains(&(stream, batch.number));
            if batch.number <= resume && !known && self.lost_event(stream, at).is_some() {
                let message = format!("ok {resume} of stream {stream} passes batch {}, which is nowhere", batch.number);
                return self.fail("resume", message);
            }
        }
    }

    fn nacked(&mut self, conn: ConnId, nack: &Nack) {
        if nack.reason == NackReason::ConnectionLimit {
            return;
        }
        if let Some(last) = nack.through_sequence {
            return self.given_up(conn, nack, last);
        }
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        match socket.expects.pop_front() {
            Some(Tag::Batch(stream, batch)) => self.batch_refused(stream, batch, nack),
            Some(Tag::Impostor(_, number)) if number == nack.sequence_number => {}
            Some(Tag::Malformed) if !nack.should_retry => {}
            other => {
                let message = format!(
                    "conn {}: nack of {} where {other:?} waits: {}",
                    conn.0, nack.sequence_number, nack.error_message
                );
                self.fail("order of answers", message);
            }
        }
    }

    fn batch_refused(&mut self, stream: usize, batch: usize, nack: &Nack) {
        let holes_close = self.plan.holes_close;
        let of = &mut self.truth.streams[stream];
        let over = of.is_over;
        // Without an epoch, a batch that is covered and not known may be that of a producer that started over.
        let events = &of.batches[batch].events;
        let covered = events.iter().all(|uid| self.journal.holds(*uid) || self.view.events.contains(uid));
        let unsure = of.epoch.is_empty() && (covered || holes_close);
        let batch = &mut of.batches[batch];
        batch.nacked += 1;
        let number = batch.number;
        if number != nack.sequence_number {
            let message = format!("nack of {} where batch {number} waits", nack.sequence_number);
            return self.fail("order of answers", message);
        }
        if !nack.should_retry {
            let (acked, state) = (batch.acked, batch.state);
            self.count("batch refused for good");
            if !(over || unsure || (holes_close && !acked)) {
                let message =
                    format!("batch {number} of stream {stream} (acked: {acked}, {state:?}): {}", nack.error_message);
                self.fail("refusal", message);
            }
        } else {
            self.count("batch refused for now");
        }
    }

    /// The machine names batches of a hole that it closed.
    fn given_up(&mut self, conn: ConnId, nack: &Nack, last: u64) {
        self.count("hole named as given up");
        let source = nack.source_do_id.clone().unwrap_or_default();
        let epoch = nack.source_epoch.clone().unwrap_or_default();
        let Some(stream) = self.truth.find(&source, &epoch) else {
            return self.fail("refusal", format!("{source:?} epoch {epoch:?} was never made up"));
        };
        if !self.plan.holes_close && !self.truth.streams[stream].is_over {
            return self.fail(
                "refusal",
                format!("stream {stream}: a hole was closed before its time: {}", nack.error_message),
            );
        }
        for at in 0..self.truth.streams[stream].batches.len() {
            let batch = &mut self.truth.streams[stream].batches[at];
            if !(nack.sequence_number..=last).contains(&batch.number) {
                continue;
            }
            batch.closed = true;
            let (number, acked) = (batch.number, batch.acked);
            if let Some(socket) = self.sockets.get_mut(&conn) {
                socket.told_closed.insert((stream, number));
            }
            if acked {
                return self
                    .fail("refusal", format!("batch {number} of stream {stream} was acked and is named as given up"));
            }
        }
    }

    /// An HTTP request has its answer.
    pub(crate) fn call_answered(&mut self, call: CallId, status: u16, body: &Bytes) {
        if self.calls.remove(&call).is_none() {
            return self.fail("http", format!("call {} is answered and was not open", call.0));
        }
        if !matches!(status, 200 | 404 | 503) {
            self.fail("http", format!("call {} is answered {status}: {}", call.0, String::from_utf8_lossy(body)));
        }
    }

    /// A commit took effect: readers see it.
    pub(crate) fn commit_seen(&mut self) {
        self.count("commit");
        let World { view, journal, store, truth, plan, .. } = self;
        let before = view.events.len();
        if let Err(message) = view.refresh(journal, store, LOCATION, plan.config.max_snapshots, truth) {
            return self.fail("lake", message);
        }
        if self.view.events.len() > before {
            self.check_phantoms();
            self.check_order();
        }
    }

    fn check_phantoms(&mut self) {
        let refused = self.view.events.iter().copied().find(|uid| {
            let event = &self.truth.events[*uid as usize];
            let batches = &self.truth.streams[event.stream].batches;
            event.batches.iter().all(|at| batches[*at].received <= batches[*at].nacked)
        });
        if let Some(uid) = refused {
            let event = describe(uid, &self.truth);
            self.fail("phantom", format!("event {event} is in the lake; every time it came it was refused"));
        }
    }

    fn check_order(&mut self) {
        let mut wrong = None;
        for (at, stream) in self.truth.streams.iter().enumerate() {
            let in_lake = |uid: &Uid| self.view.events.contains(uid) || self.journal.has_parked(*uid);
            // An event that a batch only repeats says nothing of that batch.
            let own = |at: usize, uid: &Uid| self.truth.events[*uid as usize].batches.first() == Some(&at);
            let arrived = |at: usize| stream.batches[at].events.iter().any(|uid| own(at, uid) && in_lake(uid));
            let Some(highest) = (0..stream.batches.len()).rev().find(|at| arrived(*at)) else { continue };
            let strict = !self.plan.holes_close && !stream.is_over;
            let missing = stream.batches[..highest].iter().find(|batch| {
                let whole = batch.events.iter().all(in_lake);
                !whole && (strict || batch.acked)
            });
            if let Some(batch) = missing {
                let above = stream.batches[highest].number;
                let missing = batch.events.iter().find(|uid| !in_lake(uid)).copied().unwrap_or_default();
                let event = describe(missing, &self.truth);
                let number = batch.number;
                wrong =
                    Some(format!("batch {above} is in the lake, batch {number} below it is not: {at}, event {event}"));
                break;
            }
        }
        if let Some(message) = wrong {
            self.fail("order", message);
        }
    }

    /// Faults stop: the store and the journal work, producers only finish what they began.
    pub(crate) fn calm_down(&mut self) {
        self.tell(|| "faults stop".to_owned());
        self.is_calm = true;
        self.calm_since = self.now;
        self.faults = crate::plan::Faults::default();
        self.outage_until = 0;
        self.tables_out.1 = 0;
        for socket in self.sockets.keys().copied().collect::<Vec<_>>() {
            if !self.sockets[&socket].reads {
                self.cut(socket);
            }
        }
        for stream in &mut self.truth.streams {
            for batch in &mut stream.batches {
                if let State::Due(at) = &mut batch.state {
                    *at = (*at).min(self.now);
                }
            }
        }
    }

    /// In calm times everything is answered soon.
    pub(crate) fn check_answers(&mut self) {
        let calm_for = self.now - self.calm_since;
        if calm_for > 30_000_000 {
            // What stayed away comes now: taken or refused, but answered.
            for stream in &mut self.truth.streams {
                for batch in &mut stream.batches {
                    batch.absent = false;
                }
            }
        }
        let late = self.now.saturating_sub(ANSWER_MAX);
        let waiting = self.truth.streams.iter().enumerate().find_map(|(at, stream)| {
            let sent_and_late =
                |state: State| matches!(state, State::Sent(sent) if sent > self.calm_since + 30_000_000 && sent < late);
            let batch = stream.batches.iter().find(|batch| sent_and_late(batch.state))?;
            Some((at, batch.number))
        });
        if let Some((stream, number)) = waiting {
            self.fail(
                "liveness",
                format!("batch {number} of stream {stream} was sent in calm times and is not answered"),
            );
        }
        if let Some((call, (since, _))) =
            self.calls.iter().find(|(_, (since, _))| *since < late && *since > self.calm_since)
        {
            self.fail("liveness", format!("call {} came at {since} in calm times and is not answered", call.0));
        }
        if calm_for > ANSWERS_MAX {
            let open = self.open_batches();
            self.fail("liveness", format!("not all batches have their final answer: {open:?}"));
        }
        if open_is_empty(&self.open_batches()) {
            self.check_persisted_in_time();
        }
    }

    fn open_batches(&self) -> Vec<(usize, u64, State)> {
        let mut open = Vec::new();
        for (at, stream) in self.truth.streams.iter().enumerate().filter(|(_, stream)| !stream.is_over) {
            let waits = |state: State| matches!(state, State::Due(_) | State::Sent(_));
            open.extend(stream.batches.iter().filter(|b| waits(b.state)).map(|b| (at, b.number, b.state)));
        }
        open
    }

    fn check_persisted_in_time(&mut self) {
        let config = &self.plan.config;
        let hole_ms =
            if self.plan.holes_close { config.deduplication_window_ms + 2 * config.max_retry_delay_ms } else { 0 };
        let allowed_ms = 2 * config.flush_interval_ms + hole_ms + config.max_retry_delay_ms + 2_000;
        // What the store was slow with before may take as long as that.
        let since = self.last_ack.max(self.calm_since + SLOW_MAX);
        if self.now > since + allowed_ms * 1_000
            && let Some((stream, number)) = self.unpersisted()
        {
            let why = self.host.lake.as_ref().and_then(dolake_core::Lake::deadline);
            let message = format!("batch {number} of stream {stream} is acked and not in the lake; deadline {why:?}");
            self.fail("liveness", message);
        }
    }

    fn unpersisted(&self) -> Option<(usize, u64)> {
        self.truth.streams.iter().enumerate().find_map(|(at, stream)| {
            let missing = |batch: &&crate::truth::Batch| {
                batch.acked && batch.events.iter().any(|uid| !self.view.events.contains(uid))
            };
            stream.batches.iter().find(missing).filter(|_| !stream.left_a_hole()).map(|batch| (at, batch.number))
        })
    }

    /// Whether the run is complete: all is answered, all that was acked is in the lake, the journal is empty, and the
    /// machine has stopped in good order.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.violation.is_some() {
            return true;
        }
        let settled = self.now > self.calm_since + 40_000_000
            && open_is_empty(&self.open_batches())
            && self.unpersisted().is_none()
            && self.calls.is_empty();
        if !settled {
            return false;
        }
        if !self.host.stopping && self.host.lake.is_some() && !self.counts.contains_key("final stop") {
            self.count("final stop");
            self.stop();
        }
        if self.host.lake.is_some() {
            if self.now > self.calm_since + ANSWERS_MAX + 600_000_000 {
                self.fail("liveness", "the machine does not stop".to_owned());
            }
            return false;
        }
        self.final_check();
        true
    }

    fn final_check(&mut self) {
        for stream in 0..self.truth.streams.len() {
            if self.truth.streams[stream].is_over {
                continue;
            }
            for at in 0..self.truth.streams[stream].batches.len() {
                let batch = &self.truth.streams[stream].batches[at];
                let whole = batch.events.iter().all(|uid| self.view.events.contains(uid));
                if batch.state == State::Acked && !whole {
                    let message = format!("batch {} of stream {stream} is acked and not in the lake", batch.number);
                    return self.fail("liveness", message);
                }
            }
        }
        let hints: Vec<String> = self.view.metadata().cloned().collect();
        for location in hints {
            let Some((folder, file)) = location.rsplit_once('/') else { continue };
            let key = format!("{folder}/version-hint.text");
            let Some(key) = key.strip_prefix(LOCATION).and_then(|key| key.strip_prefix('/')) else { continue };
            let wanted = file.strip_suffix(".metadata.json").unwrap_or(file);
            let found = self.store.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if found.as_deref() != Some(wanted) && !self.store.was_overtaken(key) {
                return self.fail("hint", format!("{key} says {found:?}, the table is at {wanted}"));
            }
        }
        if !self.journal.is_drained() && !self.truth.streams.iter().any(Stream::left_a_hole) {
            self.fail("liveness", "all is in the lake, and batches are left in the journal".to_owned());
        }
    }
}

fn open_is_empty(open: &[(usize, u64, State)]) -> bool {
    open.is_empty()
}
