//! Producers that obey the protocol where it matters and are a plague otherwise: they resend, reorder, withhold,
//! repeat, cut, start over, and send what is none of the protocol's messages.

use bytes::Bytes;
use dolake_core::event::{ConnId, Frame, Peer};
use dolake_core::producer::ProducerEvent;
use dolake_core::wire::NackReason;
use dolake_core::wire::client::BatchHeader;
use dolake_core::wire::server::{AckStatus, ServerMessage};
use serde_json::json;

use crate::plan::Plan;
use crate::posts::Poster;
use crate::real::Real;
use crate::truth::{Batch, State};
use crate::world::{Socket, Tag, What, World};

/// Batches that are sent and not answered, at most.
const WINDOW: usize = 12;

/// Open connections of one source, at most, as its producer counts them.
const CONNECTIONS_MAX: usize = 3;

/// Batches that a source sends at once which waits for no answer: more than the machine remembers of what it refused.
const CROWD: usize = 300;

/// Batches without an answer beside which a flood brings new ones.
const OPEN_IN_A_FLOOD_MAX: usize = 100;

/// One producer.
#[derive(Debug)]
pub struct Producer {
    pub(crate) source: String,
    /// Its epochs, oldest first.
    pub(crate) streams: Vec<usize>,
    /// The real protocol machine, where it is not played here.
    pub(crate) real: Option<Real>,
    /// The client, where it sends by `POST /cdc`.
    pub(crate) poster: Option<Poster>,
}

impl Producer {
    pub(crate) fn new(source: String, stream: usize) -> Producer {
        Producer { source, streams: vec![stream], real: None, poster: None }
    }

    pub(crate) fn stream(&self) -> usize {
        *self.streams.last().expect("a producer has an epoch")
    }
}

impl World {
    /// A producer does what it has to, and what it should not.
    pub(crate) fn turn(&mut self, producer: usize) {
        self.chance.turn_of(Some(producer));
        if self.producers[producer].real.is_some() {
            self.real_turn(producer);
        } else if self.producers[producer].poster.is_some() {
            self.post_turn(producer);
        } else {
            self.hold_connections(producer);
            self.make_batches(producer);
            self.send_due(producer);
        }
        if !self.is_calm && self.producers[producer].poster.is_none() {
            self.misbehave(producer);
        }
        let delay = self.chance.work.at("turn").delay(1_000, self.plan.turn_ms * 1_000);
        self.queue.at(self.now + delay, What::Turn(producer));
        self.chance.turn_of(None);
    }

    pub(crate) fn open_sockets(&self, producer: usize) -> Vec<ConnId> {
        let own = self.sockets.iter().filter(|(_, socket)| socket.producer == producer && socket.client_open);
        own.map(|(conn, _)| *conn).collect()
    }

    /// Open sockets of other sources that are made up here.
    fn sockets_of_others(&self, producer: usize) -> Vec<ConnId> {
        let is_ours = |other: usize| other != producer && self.producers[other].real.is_none();
        let open = self.sockets.iter().filter(|(_, socket)| socket.client_open && is_ours(socket.producer));
        open.map(|(conn, _)| *conn).collect()
    }

    fn hold_connections(&mut self, producer: usize) {
        let open = self.open_sockets(producer).len();
        let held = self.sockets.values().filter(|socket| socket.producer == producer).count() as u64;
        let more = !self.is_calm
            && !self.truth.streams[self.producers[producer].stream()].is_eager
            && open < CONNECTIONS_MAX
            && self.chance.work.at("extra connection").chance(self.faults.extra_connection);
        if held < self.plan.config.max_connections_per_source && (open == 0 || more) {
            self.connect(producer);
        }
    }

    /// A socket starts on its way to the host.
    pub(crate) fn open_socket(&mut self, producer: usize) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let source = self.producers[producer].source.clone();
        let stream = self.producers[producer].stream();
        let client_id = (self.chance.work.at("client id").one_in(2)).then(|| source.clone());
        let peer = Peer { address: None, client_id, shard_name: None };
        let never_reads = !self.is_calm && self.chance.net.at("never reads").chance(self.faults.never_reads);
        let socket = Socket {
            producer,
            stream,
            peer: peer.clone(),
            client_open: true,
            host_open: false,
            reads: !never_reads,
            unread: Vec::new(),
            attachment: None,
            due_at_host: self.now,
            to_client_at: self.now,
            expects: std::collections::VecDeque::new(),
            told_closed: std::collections::BTreeSet::new(),
            sent: std::collections::BTreeSet::new(),
            mark: std::collections::BTreeMap::new(),
        };
        self.sockets.insert(conn, socket);
        let at = self.due_at_host(conn);
        self.queue.at(at, What::Opened(conn, peer));
        if never_reads && self.chance.net.at("reads later").one_in(2) {
            let later = self.now + self.chance.net.at("reads when").delay(500_000, 20_000_000);
            self.queue.at(later, What::Reads(conn));
        }
        conn
    }

    fn connect(&mut self, producer: usize) {
        let conn = self.open_socket(producer);
        self.begin_again_in_order(producer);
        let source = self.producers[producer].source.clone();
        let stream = self.producers[producer].stream();
        let epoch = self.truth.streams[stream].epoch.clone();
        let mut connect = json!({
            "type": "connect", "timestamp": self.host_ms(), "sourceDoId": source,
            "lastAckSequence": self.acked_through(stream), "protocolVersion": 1,
            "capabilities": { "batching": true, "maxBatchSize": 1_000 },
        });
        if !epoch.is_empty() {
            connect["sourceEpoch"] = json!(epoch);
        }
        if self.truth.streams[stream].is_sparse {
            connect["capabilities"]["sparse"] = json!(true);
        }
        self.send_frame(conn, connect.to_string(), Tag::Other);
    }

    /// The highest batch that is acked with all below it.
    fn acked_through(&self, stream: usize) -> u64 {
        let batches = &self.truth.streams[stream].batches;
        batches.iter().take_while(|batch| batch.state == State::Acked).last().map_or(0, |batch| batch.number)
    }

    /// When the next message of a socket reaches the host: messages do not overtake one another.
    pub(crate) fn due_at_host(&mut self, conn: ConnId) -> u64 {
        let delay = self.chance.net.at("to host").between(200, self.plan.net_ms * 1_000);
        let socket = self.sockets.get_mut(&conn).expect("only open sockets are sent on");
        socket.due_at_host = socket.due_at_host.max(self.now + delay);
        socket.due_at_host
    }

    fn send_frame(&mut self, conn: ConnId, text: String, tag: Tag) {
        let at = self.due_at_host(conn);
        self.queue.at(at, What::ToHost(conn, Frame::Text(Bytes::from(text)), tag));
    }

    pub(crate) fn make_batches(&mut self, producer: usize) {
        let stream = self.producers[producer].stream();
        let made: usize = self.producers[producer].streams.iter().map(|s| self.truth.streams[*s].batches.len()).sum();
        let open = |state: State| matches!(state, State::Due(_) | State::Sent(_));
        let waiting = match &self.producers[producer].real {
            Some(real) => self.truth.streams[stream].batches.len() - real.offered(),
            None => self.truth.streams[stream].unsettled().filter(|(_, batch)| open(batch.state)).count(),
        };
        if self.is_calm || made as u64 >= self.plan.batches || waiting >= WINDOW {
            return;
        }
        if self.truth.streams[stream].is_eager && self.chance.work.at("crowd").chance(self.faults.crowd) {
            self.count("crowd");
            let plan = Plan { batch_events_max: 1, ..self.plan.clone() };
            for _ in 0..CROWD {
                let now_ms = self.host_ms();
                self.truth.make(stream, &plan, now_ms, &mut self.chance.work);
            }
        }
        for _ in 0..self.chance.work.at("batches").between(0, 3) {
            let now_ms = self.host_ms();
            let batch = self.truth.make(stream, &self.plan, now_ms, &mut self.chance.work);
            let obeys = self.producers[producer].poster.as_ref().is_some_and(|poster| poster.obeys);
            let plays = self.producers[producer].real.is_none() && !obeys && !self.truth.streams[stream].is_eager;
            if plays && self.chance.work.at("withhold").chance(self.faults.withhold) {
                self.count("batch withheld");
                let later = self.now + self.chance.work.at("withheld for").between(100_000, 10_000_000);
                // A hole of a source without a connection stays open for an hour.
                let is_connected = self.producers[producer].poster.is_none();
                let stays_away = self.plan.holes_close && is_connected && self.chance.work.at("stays away").one_in(2);
                let batch = &mut self.truth.streams[stream].batches[batch];
                batch.absent = stays_away;
                batch.state = State::Due(later);
            }
        }
    }

    fn send_due(&mut self, producer: usize) {
        let open = self.open_sockets(producer);
        if open.is_empty() {
            return;
        }
        let patience =
            if self.is_calm { 20_000_000 } else { self.chance.work.at("patience").delay(1_000_000, 5_000_000) };
        let others = self.sockets_of_others(producer);
        for stream in self.producers[producer].streams.clone() {
            let is_over = self.truth.streams[stream].is_over;
            // What a producer had not sent when it started over is mostly forgotten.
            if is_over && !self.chance.work.at("old epoch").one_in(4) {
                continue;
            }
            let now = self.now;
            let due = |state: State| match state {
                State::Due(at) => at <= now,
                State::Sent(at) => at + patience <= now,
                State::Acked | State::Refused => false,
            };
            let batches = self.truth.streams[stream].unsettled();
            let mut due: Vec<usize> =
                batches.filter(|(_, batch)| due(batch.state) && !batch.absent).map(|(at, _)| at).collect();
            let keeps_order = self.is_calm || self.truth.streams[stream].is_eager;
            if !keeps_order && self.chance.work.at("shuffle").chance(self.faults.shuffle) {
                self.chance.work.at("order").shuffle(&mut due);
            }
            for batch in due {
                let is_sparse = self.truth.streams[stream].is_sparse;
                let may_stray = !is_sparse && !self.is_calm && !others.is_empty();
                let strays = may_stray && self.chance.work.at("gateway").chance(self.faults.gateway);
                let sockets = if strays { &others } else { &open };
                let conn = *self.chance.work.at("which socket").pick(sockets);
                self.truth.streams[stream].batches[batch].state = State::Sent(self.now);
                if !self.is_calm && self.chance.work.at("spoilt").chance(self.faults.malformed) {
                    self.count("batch spoilt");
                    self.truth.streams[stream].batches[batch].is_spoilt = true;
                    let frame = self.batch_frame(conn, stream, batch, "[7]");
                    self.send_frame(conn, frame, Tag::Malformed);
                    continue;
                }
                self.send_batch(conn, stream, batch);
                // Twice at once, perhaps on two sockets: the second comes while the first is on its way to the journal.
                if !is_sparse && !self.is_calm && self.chance.work.at("twice").chance(self.faults.resend) {
                    let conn = *self.chance.work.at("twice on").pick(&open);
                    self.send_batch(conn, stream, batch);
                }
            }
        }
    }

    fn send_batch(&mut self, conn: ConnId, stream: usize, batch: usize) {
        let events = self.truth.events_json(&self.truth.streams[stream].batches[batch].events);
        let number = self.truth.streams[stream].batches[batch].number;
        let frame = self.batch_frame(conn, stream, batch, &events);
        self.truth.streams[stream].batches[batch].sends += 1;
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.sent.insert((stream, number));
        }
        self.send_frame(conn, frame, Tag::Batch(stream, batch));
    }

    fn batch_frame(&mut self, conn: ConnId, stream: usize, batch: usize, events: &str) -> String {
        let of = &self.truth.streams[stream];
        let batch = &of.batches[batch];
        // A connection that said `connect` for the same epoch need not say it again.
        let same = self.sockets.get(&conn).is_some_and(|socket| socket.stream == stream);
        let says = !same || self.chance.work.at("says epoch").one_in(2);
        let header = BatchHeader {
            timestamp: self.host_ms(),
            correlation_id: None,
            source_do_id: &of.source,
            source_epoch: says.then_some(of.epoch.as_str()),
            source_shard_name: None,
            sequence_number: batch.number,
            first_event_sequence: batch.range.0,
            last_event_sequence: batch.range.1,
            size_bytes: events.len() as u64,
            is_retry: batch.sends > 0,
            retry_count: batch.sends,
        };
        String::from_utf8(header.to_frame(events.as_bytes()).to_vec()).expect("the parts are text")
    }

    fn misbehave(&mut self, producer: usize) {
        let open = self.open_sockets(producer);
        let stream = self.producers[producer].stream();
        let Some(conn) = (!open.is_empty()).then(|| *self.chance.work.at("bad socket").pick(&open)) else { return };
        if self.producers[producer].real.is_some() {
            if self.chance.net.at("cut").chance(self.faults.cut) {
                self.cut(conn);
            }
            return;
        }
        if self.chance.work.at("resend").chance(self.faults.resend) {
            self.resend(conn, producer);
        }
        let is_deaf = self.sockets.get(&conn).is_some_and(|socket| !socket.reads);
        if is_deaf && !self.truth.streams[stream].is_eager && self.chance.work.at("flood").one_in(10) {
            self.flood(conn, producer);
        }
        if self.chance.work.at("impostor").chance(self.faults.impostor) {
            self.pose(conn, stream);
        }
        if self.chance.work.at("malformed").chance(self.faults.malformed) {
            self.babble(conn, producer);
        }
        if self.chance.work.at("asks").chance(self.plan.asks) {
            self.ask(conn, producer);
        }
        // An epoch of which nothing was accepted is unseen: its late batches would fence the one that follows it.
        let is_known = self.truth.streams[stream].batches.iter().any(|batch| batch.acked);
        if self.chance.work.at("new epoch").chance(self.faults.new_epoch) && is_known {
            self.start_over(producer);
        }
        if self.chance.net.at("cut").chance(self.faults.cut) {
            self.cut(conn);
        }
    }

    fn resend(&mut self, conn: ConnId, producer: usize) {
        let stream = *self.chance.work.at("resend epoch").pick(&self.producers[producer].streams);
        let of = &self.truth.streams[stream];
        // A producer that has no answer yet may lose its patience, but not one whose order is all that tells of a loss.
        let is_impatient = !of.is_sparse && self.chance.work.at("resend unanswered").one_in(3);
        let which = if is_impatient { self.unanswered(stream) } else { self.settled(stream) };
        if !which.is_empty() {
            self.count("batch sent again");
            let batch = *self.chance.work.at("resend which").pick(&which);
            self.send_batch(conn, stream, batch);
        }
    }

    /// Batches that are on their way, or whose answers are.
    fn unanswered(&self, stream: usize) -> Vec<usize> {
        let batches = self.truth.streams[stream].batches.iter().enumerate();
        batches.filter(|(_, batch)| matches!(batch.state, State::Sent(_))).map(|(at, _)| at).collect()
    }

    /// Batches that were acked or given up: these must stay out.
    fn settled(&self, stream: usize) -> Vec<usize> {
        let settled = |batch: &Batch| batch.state == State::Acked || batch.closed;
        let batches = self.truth.streams[stream].batches.iter().enumerate();
        batches.filter(|(_, batch)| settled(batch)).map(|(at, _)| at).collect()
    }

    /// A peer that does not read sends all that it has again and again, until more answers wait than its window holds,
    /// then new batches and nonsense: the acks are gathered.
    fn flood(&mut self, conn: ConnId, producer: usize) {
        self.count("flood");
        let stream = self.producers[producer].stream();
        for batch in self.settled(stream).into_iter().cycle().take(220) {
            self.send_batch(conn, stream, batch);
        }
        let open = self.truth.streams[stream].unsettled().filter(|(_, batch)| !batch.state.is_final()).count();
        let new = self.chance.work.at("new in a flood").between(2, 8);
        // What is far away takes a while for each batch that was refused.
        for _ in 0..if open < OPEN_IN_A_FLOOD_MAX { new } else { 0 } {
            let now_ms = self.host_ms();
            let batch = self.truth.make(stream, &self.plan, now_ms, &mut self.chance.work);
            self.send_batch(conn, stream, batch);
            self.truth.streams[stream].batches[batch].state = State::Sent(self.now);
            if self.chance.work.at("nonsense in a flood").one_in(2) {
                self.babble(conn, producer);
            }
        }
    }

    /// Sends other events under an acked number.
    fn pose(&mut self, conn: ConnId, stream: usize) {
        let batches = self.truth.streams[stream].batches.iter().enumerate();
        let acked: Vec<usize> = batches.filter(|(_, batch)| batch.state == State::Acked).map(|(at, _)| at).collect();
        if acked.is_empty() {
            return;
        }
        self.count("impostor");
        let batch = *self.chance.work.at("impostor of").pick(&acked);
        let now_ms = self.host_ms();
        let events = self.truth.make_impostor(stream, batch, &self.plan, now_ms, &mut self.chance.work);
        let events = self.truth.events_json(&events);
        let number = self.truth.streams[stream].batches[batch].number;
        let frame = self.batch_frame(conn, stream, batch, &events);
        self.send_frame(conn, frame, Tag::Impostor(stream, number));
    }

    fn babble(&mut self, conn: ConnId, producer: usize) {
        self.count("malformed message");
        let source = &self.producers[producer].source;
        let wrong_range = json!({
            "type": "cdc_batch", "timestamp": 1, "sourceDoId": source, "sequenceNumber": 1_000_000,
            "firstEventSequence": 5, "lastEventSequence": 9, "sizeBytes": 1, "isRetry": false, "retryCount": 0,
            "events": [{"sequence": 5, "timestamp": 1, "operation": "INSERT", "table": "users", "rowId": "x", "after": {}}],
        });
        let texts = [
            "{".to_owned(),
            "null".to_owned(),
            String::new(),
            json!({ "type": "nonsense" }).to_string(),
            json!({ "type": "connect", "timestamp": 1 }).to_string(),
            json!({ "type": "cdc_batch", "sourceDoId": source, "sequenceNumber": -1 }).to_string(),
            wrong_range.to_string(),
            format!("{{\"type\":\"cdc_batch\",\"x\":{}}}", "[".repeat(10_000)),
            format!("{{\"type\":\"heartbeat\",\"x\":\"{}\"}}", "y".repeat(40_000)),
        ];
        let text = self.chance.work.at("malformed how").pick(&texts).clone();
        let at = self.due_at_host(conn);
        let frame = match self.chance.work.at("malformed frame").below(8) {
            0 => Frame::Binary(Bytes::from(text)),
            1 => Frame::Text(Bytes::from_static(b"\xff\xfe{")),
            _ => Frame::Text(Bytes::from(text)),
        };
        self.queue.at(at, What::ToHost(conn, frame, Tag::Malformed));
    }

    /// A control message, or an HTTP request.
    fn ask(&mut self, conn: ConnId, producer: usize) {
        let source = self.producers[producer].source.clone();
        let heartbeat = json!({
            "type": "heartbeat", "timestamp": 1, "sourceDoId": source, "lastAckSequence": 0, "pendingEvents": 0
        });
        let flush = json!({ "type": "flush_request", "timestamp": 1, "sourceDoId": source, "reason": "manual" });
        match self.chance.work.at("ask what").below(8) {
            0 => self.send_frame(conn, heartbeat.to_string(), Tag::Other),
            1 => self.send_frame(conn, flush.to_string(), Tag::Other),
            2 => self.ask_over_http("POST", "/flush"),
            3 => self.ask_over_http("GET", "/status"),
            4 => self.ask_over_http("GET", "/metrics"),
            5 => self.ask_over_http("GET", "/health"),
            6 => self.ask_over_http("GET", "/v1/namespaces/default/tables"),
            _ => {
                let table = self.chance.work.at("load which table").pick(&crate::truth::TABLES);
                self.ask_over_http("GET", &crate::checks::catalog::table_path(table));
            }
        }
    }

    /// On a new connection a source that sends in order begins with the first batch that is not answered.
    fn begin_again_in_order(&mut self, producer: usize) {
        let now = self.now;
        for stream in &self.producers[producer].streams {
            let stream = &mut self.truth.streams[*stream];
            if stream.is_eager || (stream.is_sparse && self.is_calm) {
                for (_, batch) in stream.unsettled().filter(|(_, batch)| !batch.state.is_final()) {
                    batch.state = State::Due(now);
                }
            }
        }
    }

    pub(crate) fn start_over(&mut self, producer: usize) {
        self.count("new epoch");
        let source = self.producers[producer].source.clone();
        let epoch = format!("e{}", self.producers[producer].streams.len() + 1);
        let former = self.producers[producer].stream();
        self.truth.streams[former].is_over = true;
        let stream = self.truth.open(source, epoch);
        self.truth.streams[stream].is_sparse = self.truth.streams[former].is_sparse;
        self.truth.streams[stream].may_overtake = self.truth.streams[former].may_overtake;
        self.truth.streams[stream].is_eager = self.truth.streams[former].is_eager;
        self.truth.streams[stream].is_unnumbered = self.truth.streams[former].is_unnumbered;
        let Producer { real, poster, .. } = &self.producers[producer];
        let is_played = real.is_none() && poster.is_none() && self.plan.sparse > 0;
        // What is left of the former epoch comes beside what begins. It must not be sparse: its batches would be refused on a
        // connection that is not.
        let is_dense = is_played && !self.truth.streams[former].is_sparse;
        if is_dense && self.chance.work.at("sparse from now on").one_in(3) {
            self.truth.streams[stream].is_sparse = true;
            self.truth.streams[stream].is_eager = true;
        }
        self.producers[producer].streams.push(stream);
        for conn in self.open_sockets(producer) {
            self.cut(conn);
        }
    }

    /// Both ends learn of a cut at their own time; what is under way may still arrive.
    pub(crate) fn cut(&mut self, conn: ConnId) {
        self.count("connection cut");
        let slow = self.chance.net.at("slow cut").one_in(4);
        let most = if slow { 20_000_000 } else { 50_000 };
        let at_host = self.now + self.chance.net.at("cut seen by host").between(1, most);
        self.queue.at(at_host, What::HostClosed(conn));
        self.queue.at(self.now + 1, What::ClientClosed(conn));
    }

    /// A message of the machine starts on its way.
    pub(crate) fn send(&mut self, conn: ConnId, frame: Bytes) {
        self.answered(conn, &frame);
        let delay = self.chance.net.at("to client").between(200, self.plan.net_ms * 1_000);
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if socket.reads {
            socket.to_client_at = socket.to_client_at.max(self.now + delay);
            self.queue.at(socket.to_client_at, What::ToClient(conn, frame));
        } else {
            socket.unread.push(frame);
        }
    }

    /// A peer that did not read reads all that was sent meanwhile.
    pub(crate) fn begin_to_read(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| socket.client_open) else { return };
        socket.reads = true;
        socket.to_client_at = socket.to_client_at.max(self.now);
        for frame in std::mem::take(&mut socket.unread) {
            self.queue.at(socket.to_client_at, What::ToClient(conn, frame));
        }
    }

    /// A message reaches its producer.
    pub(crate) fn client_received(&mut self, conn: ConnId, frame: &Bytes) {
        self.queue.at(self.now, What::Sent(conn, frame.len()));
        if let Some((producer, attempt)) = self.attempt_of(conn) {
            if self.sockets.get(&conn).is_some_and(|socket| socket.client_open) {
                self.note_advice(producer, frame);
                self.step_producer(producer, ProducerEvent::Received(attempt, frame.clone()));
            }
            return;
        }
        let eager_ms = self.plan.net_ms.max(20);
        let World { sockets, truth, now, .. } = self;
        let Some(socket) = sockets.get(&conn).filter(|socket| socket.client_open) else { return };
        let (sent, own) = (&socket.sent, socket.stream);
        let Ok(message) = ServerMessage::from_frame(frame) else { return };
        match message {
            ServerMessage::Ack(ack) => {
                let epoch = ack.source_epoch.unwrap_or_default();
                let Some(stream) = truth.find(&ack.source_do_id.unwrap_or_default(), &epoch) else { return };
                let first = ack.first_sequence.unwrap_or(ack.sequence_number);
                let covers = |number: u64| match ack.status {
                    AckStatus::Buffered | AckStatus::Fallback | AckStatus::Duplicate => {
                        (first..=ack.sequence_number).contains(&number) && sent.contains(&(stream, number))
                    }
                    // Where nothing is compared, nobody knows of numbers in between whether they came.
                    AckStatus::Ok | AckStatus::Persisted if truth.applies_each => false,
                    AckStatus::Ok => stream == own && number <= ack.sequence_number,
                    AckStatus::Persisted => number <= ack.sequence_number,
                };
                for (_, batch) in truth.streams[stream].unsettled() {
                    if covers(batch.number) && batch.state != State::Refused {
                        batch.state = State::Acked;
                    }
                }
            }
            ServerMessage::Nack(nack) => {
                let epoch = nack.source_epoch.unwrap_or_default();
                let source = nack.source_do_id.unwrap_or_default();
                let stream = truth.find(&source, &epoch).unwrap_or(own);
                let last = nack.through_sequence.unwrap_or(nack.sequence_number);
                let delay_ms = nack.retry_delay_ms.unwrap_or(1_000);
                let delay_ms = if truth.streams[stream].is_eager { delay_ms.min(eager_ms) } else { delay_ms };
                let state = if nack.should_retry { State::Due(*now + delay_ms * 1_000) } else { State::Refused };
                for (_, batch) in truth.streams[stream].unsettled() {
                    if (nack.sequence_number..=last).contains(&batch.number) && batch.state != State::Acked {
                        let is_repaired = nack.reason == NackReason::InvalidFormat && batch.is_spoilt;
                        batch.state = if is_repaired { State::Due(*now) } else { state };
                    }
                }
            }
            ServerMessage::Status(_) | ServerMessage::Pong(_) | ServerMessage::FlushResponse(_) => {}
        }
    }
}
