//! Every HTTP request is answered once, with a status that it may have; and when a flush that was asked for is said to be done,
//! what was acked before, below the first hole, is in the lake or parked. Does not read other answers.

use bytes::Bytes;
use dolake_core::command::ResponseHead;
use dolake_core::event::CallId;

use crate::lake_view::describe;
use crate::truth::Uid;
use crate::world::World;

impl World {
    /// A flush is asked for: what is acked without a hole below it belongs to it.
    pub(crate) fn note_flush_asked(&mut self, call: CallId) {
        let mut asked = Vec::new();
        for stream in self.truth.streams.iter().filter(|stream| !stream.is_over) {
            let acked = stream.batches[stream.complete..].iter().take_while(|batch| batch.acked);
            asked.extend(acked.flat_map(|batch| &batch.events));
        }
        self.flush_asks.insert(call, asked);
    }

    fn check_flush(&mut self, call: CallId, status: u16, body: &Bytes) {
        let asked = self.flush_asks.remove(&call).unwrap_or_default();
        let is_done = status == 200 && String::from_utf8_lossy(body).contains("\"success\":true");
        let is_there = |uid: &Uid| self.view.events.contains(uid) || self.journal.has_parked(*uid);
        if let Some(uid) = asked.into_iter().filter(|_| is_done).find(|uid| !is_there(uid)) {
            let event = describe(uid, &self.truth);
            self.fail(
                "http",
                format!("call {} is told that the flush is done, event {event} is not in the lake", call.0),
            );
        }
    }

    /// An HTTP request has its answer.
    pub(crate) fn call_answered(&mut self, call: CallId, head: &ResponseHead, body: &Bytes) {
        let status = head.status;
        if self.calls.remove(&call).is_none() {
            return self.fail("http", format!("call {} is answered and was not open", call.0));
        }
        if let Some(post) = self.posts.get(&call).copied() {
            return self.post_answered(call, post, head, body);
        }
        // Settings may not fit one another.
        let may_be_refused = self.operator.open.contains_key(&call);
        self.check_settings(call, status, body);
        self.check_catalog(call, status, body);
        self.check_flush(call, status, body);
        let is_damaged = status == 500 && (self.faults.damage > 0 || self.host.is_at_other_store());
        let is_allowed = matches!(status, 200 | 404 | 503) || (status == 400 && may_be_refused) || is_damaged;
        if !is_allowed {
            self.fail("http", format!("call {} is answered {status}: {}", call.0, String::from_utf8_lossy(body)));
        }
    }
}
