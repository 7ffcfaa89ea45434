//! Promise 1 and 4 for `POST /cdc`: a batch that is said to be taken is in the journal or in the lake at that moment, the
//! counts are true, and one that is refused for good had a reason. Does not see requests whose answer nobody waits for.

use bytes::Bytes;
use dolake_core::command::ResponseHead;
use dolake_core::event::CallId;
use dolake_core::wire::NackReason;
use serde_json::Value;

use crate::lake_view::describe;
use crate::posts::{Post, Told};
use crate::world::World;

impl World {
    /// A batch that came by `POST /cdc` is answered.
    pub(super) fn post_answered(&mut self, call: CallId, post: Post, head: &ResponseHead, body: &Bytes) {
        let told = Told::of(head, body);
        if told != Told::Accepted {
            self.note_awaited(post.stream, post.batch, !post.is_spoilt);
        }
        match told {
            Told::Accepted if post.is_spoilt => {
                self.fail("post", format!("what no batch is was taken: {}", String::from_utf8_lossy(body)));
            }
            Told::Later(_) | Told::Refused if post.is_spoilt => {}
            Told::Accepted => self.post_taken(post, body),
            Told::Later(_) | Told::Refused => {
                self.count(if head.status == 409 { "POST /cdc conflict" } else { "POST /cdc refused" });
                let text = String::from_utf8_lossy(body).into_owned();
                let is_sequence = head.status == 409 && !text.contains("under way");
                let reason = if is_sequence { NackReason::InvalidSequence } else { NackReason::BufferFull };
                // Such an answer waits for no reader: whatever was told before was known when it was made.
                let (batch, told_at) = ((post.stream, post.batch), i64::MAX);
                self.batch_refused(batch, told_at, reason, told != Told::Refused, &text);
            }
        }
        if post.is_deaf {
            self.count("answer lost");
            self.answer_post(call, None);
        } else {
            self.answer_post(call, Some(told));
        }
    }

    fn post_taken(&mut self, post: Post, body: &Bytes) {
        let Post { stream, batch, .. } = post;
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let count = |key: &str| said[key].as_u64().unwrap_or(u64::MAX);
        let events = self.truth.streams[stream].batches[batch].events.len() as u64;
        let (received, accepted, repeats) = (count("eventsReceived"), count("eventsAccepted"), count("duplicates"));
        if received != events || accepted.saturating_add(repeats) != received {
            return self.fail("post", format!("{events} events were sent, the answer says {said}"));
        }
        if accepted == 0 && self.is_overtaken(stream, batch) {
            return self.came_too_late(stream, batch);
        }
        if let Some(uid) = self.lost_event(stream, batch) {
            let event = describe(uid, &self.truth);
            return self.fail("post", format!("POST /cdc is answered {said}, event {event} is nowhere"));
        }
        self.count("POST /cdc taken");
        self.note_acked(stream, batch);
    }
}
