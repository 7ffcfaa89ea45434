//! Sources that send by `POST /cdc`, with batch numbers of their own or without any. One that obeys sends a batch at a time
//! and goes on when it is answered; a hostile one sends what it has in any order, several at once. Answers are lost on
//! their way, and requests are given up: then nobody told the client what became of the batch, and it sends it again.

use bytes::Bytes;
use dolake_core::command::ResponseHead;
use dolake_core::event::{CallId, RequestHead};
use serde_json::{Value, json};

use crate::truth::State;
use crate::world::{What, World};

/// Time after which a client gives a request up, in microseconds.
const PATIENCE: u64 = 8_000_000;

/// A client.
#[derive(Debug)]
pub struct Poster {
    /// It sends one batch at a time, in order.
    pub(crate) obeys: bool,
    /// Requests without an answer, as the client sees it.
    pub(crate) open: Vec<CallId>,
}

/// A request with a batch.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    pub(crate) producer: usize,
    pub(crate) stream: usize,
    pub(crate) batch: usize,
    /// Its answer does not come through.
    pub(crate) is_deaf: bool,
    /// It is none that can be taken.
    pub(crate) is_spoilt: bool,
}

/// What a client makes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The batch is safe.
    Accepted,
    /// It is to be sent again after so many milliseconds.
    Later(u64),
    /// It is refused for good.
    Refused,
}

impl Told {
    /// As `docs/API.md` says: 2xx, or an error that says of itself whether to come again.
    pub(crate) fn of(head: &ResponseHead, body: &[u8]) -> Told {
        if head.status == 200 {
            return Told::Accepted;
        }
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let after = head.headers.iter().find(|(name, _)| name == "retry-after");
        let seconds = after.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(1);
        if error["error"]["retryable"] == json!(true) { Told::Later(seconds * 1_000) } else { Told::Refused }
    }
}

impl World {
    /// A source is found to send by `POST /cdc`.
    pub(crate) fn begin_posting(&mut self, producer: usize) {
        let obeys = !self.chance.work.at("posts in any order").one_in(3);
        let is_sparse = self.chance.work.at("posts without numbers").one_in(2);
        let stream = &mut self.truth.streams[self.producers[producer].stream()];
        (stream.is_sparse, stream.is_unnumbered) = (is_sparse, is_sparse);
        stream.may_overtake = is_sparse && !obeys;
        stream.is_eager = false;
        self.producers[producer].poster = Some(Poster { obeys, open: Vec::new() });
    }

    /// A client's turn.
    pub(crate) fn post_turn(&mut self, producer: usize) {
        self.make_batches(producer);
        let stream = self.producers[producer].stream();
        let now = self.now;
        let Some(poster) = &self.producers[producer].poster else { return };
        let (obeys, is_busy) = (poster.obeys, !poster.open.is_empty());
        let is_due = |state: State| matches!(state, State::Due(at) if at <= now);
        let unsettled = self.truth.streams[stream].unsettled();
        let waits = |state: State| matches!(state, State::Due(_) | State::Sent(_));
        let mut due: Vec<(usize, State)> =
            unsettled.filter(|(_, batch)| waits(batch.state) && !batch.absent).map(|(at, b)| (at, b.state)).collect();
        if obeys {
            due.truncate(usize::from(!is_busy));
        } else if !self.is_calm && self.chance.work.at("shuffle").chance(self.faults.shuffle) {
            self.chance.work.at("order").shuffle(&mut due);
        }
        for (batch, _) in due.into_iter().filter(|(_, state)| is_due(*state)) {
            self.post(producer, stream, batch);
        }
        let starts_over = !self.is_calm && self.chance.work.at("new epoch").chance(self.faults.new_epoch);
        if starts_over && self.truth.streams[stream].batches.iter().any(|batch| batch.acked) {
            self.start_over(producer);
        }
    }

    fn post(&mut self, producer: usize, stream: usize, batch: usize) {
        let of = &mut self.truth.streams[stream];
        of.batches[batch].state = State::Sent(self.now);
        of.batches[batch].sends += 1;
        let mut parts = Vec::new();
        if !of.epoch.is_empty() {
            parts.push(format!("\"sourceEpoch\":{:?}", of.epoch));
        }
        if !of.is_sparse {
            parts.push(format!("\"sequenceNumber\":{}", of.batches[batch].number));
        }
        let mut headers = vec![("x-client-id".to_owned(), of.source.clone())];
        let mut events = self.truth.events_json(&self.truth.streams[stream].batches[batch].events);
        // Who begins has more to learn.
        let weight = self.faults.call_spoilt * if batch == 0 { 5 } else { 1 };
        let is_spoilt = !self.is_calm && self.chance.work.at("post spoilt").chance(weight);
        if is_spoilt {
            self.count("POST /cdc spoilt");
            self.truth.streams[stream].batches[batch].is_spoilt = true;
            match self.chance.work.at("post spoilt how").below(5) {
                0 => events = "[7]".to_owned(),
                1 => headers.push(("content-encoding".to_owned(), "gzip".to_owned())),
                2 => headers.push(("content-type".to_owned(), "application/x-ndjson".to_owned())),
                3 => {
                    parts.retain(|part| !part.starts_with("\"sequenceNumber\""));
                    parts.push(format!("\"sequenceNumber\":{}", u64::MAX));
                }
                // Room for nothing, before what there is no room for; whatever the limit is when it comes.
                _ => parts.insert(0, format!("\"x\":\"{}\"", "y".repeat(self.payload_limit_max()))),
            }
        }
        parts.push(format!("\"events\":{events}"));
        let body = Bytes::from(format!("{{{}}}", parts.join(",")));
        let is_deaf = !self.is_calm && self.chance.net.at("answer lost").chance(self.faults.call_cut);
        let delay = self.chance.net.at("request").between(200, self.plan.net_ms * 1_000);
        let call = self.call("POST", "/cdc", headers, body, delay);
        let (number, range) =
            (self.truth.streams[stream].batches[batch].number, self.truth.streams[stream].batches[batch].range);
        self.tell(|| {
            let what = if is_spoilt { "spoilt batch" } else { "batch" };
            format!(
                "client {producer} asks {}: POST /cdc, {what} {number} of stream {stream}, events {range:?}",
                call.0
            )
        });
        self.posts.insert(call, Post { producer, stream, batch, is_deaf, is_spoilt });
        if let Some(poster) = &mut self.producers[producer].poster {
            poster.open.push(call);
        }
        if !self.is_calm && self.chance.net.at("request given up").chance(self.faults.call_cut) {
            let after = self.chance.net.at("given up after").delay(300, 400_000);
            self.queue.at(self.now + after, What::CallCut(call));
        }
        self.queue.at(self.now + PATIENCE, What::CallCut(call));
    }

    /// The client goes away before its request is answered, if it still waits.
    pub(crate) fn call_cut(&mut self, call: CallId) {
        let Some(post) = self.posts.get(&call) else { return };
        let waits = self.producers[post.producer].poster.as_ref().is_some_and(|poster| poster.open.contains(&call));
        if !waits {
            return;
        }
        self.count("request given up");
        self.heard(call, None);
        if self.calls.remove(&call).is_some() {
            self.deliver(dolake_core::Event::CallGone { call }, crate::world::Tag::Other);
        }
    }

    /// The machine of a life that ended, or an answer that came through: the client learns of it, at some time.
    pub(crate) fn answer_post(&mut self, call: CallId, told: Option<Told>) {
        let delay = self.chance.net.at("answer").between(200, self.plan.net_ms * 1_000);
        self.queue.at(self.now + delay, What::Heard(call, told));
    }

    /// A client has its answer, or knows that it gets none.
    pub(crate) fn heard(&mut self, call: CallId, told: Option<Told>) {
        let Some(post) = self.posts.get(&call).copied() else { return };
        let Some(poster) = &mut self.producers[post.producer].poster else { return };
        let Some(at) = poster.open.iter().position(|open| *open == call) else { return };
        poster.open.remove(at);
        self.tell(|| format!("client {} has the answer to {}: {told:?}", post.producer, call.0));
        let again_after = self.now + self.chance.net.at("again after").between(1_000, 500_000);
        let batch = &mut self.truth.streams[post.stream].batches[post.batch];
        if batch.state == State::Acked {
            return;
        }
        batch.state = match told {
            Some(Told::Accepted) => State::Acked,
            // The client repairs it, in its time.
            Some(Told::Refused) if post.is_spoilt => State::Due(again_after),
            Some(Told::Refused) => State::Refused,
            Some(Told::Later(ms)) => State::Due(self.now + ms * 1_000),
            None => State::Due(again_after),
        };
    }

    /// `GET` and the like, without a body.
    pub(crate) fn ask_over_http(&mut self, method: &str, path: &str) {
        self.call(method, path, Vec::new(), Bytes::new(), 1_000);
    }

    /// An HTTP request starts on its way.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: Vec<(String, String)>,
        body: Bytes,
        delay: u64,
    ) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.count("HTTP request");
        let head = RequestHead { method: method.to_owned(), path: path.to_owned(), query: None, headers };
        self.queue.at(self.now + delay, What::Call(call, head, body));
        call
    }
}
