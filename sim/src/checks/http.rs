//! Every HTTP request is answered once, with a status that it may have. Does not read the answers.

use bytes::Bytes;
use dolake_core::event::CallId;

use crate::world::World;

impl World {
    /// An HTTP request has its answer.
    pub(crate) fn call_answered(&mut self, call: CallId, status: u16, body: &Bytes) {
        if self.calls.remove(&call).is_none() {
            return self.fail("http", format!("call {} is answered and was not open", call.0));
        }
        if !matches!(status, 200 | 404 | 503) {
            self.fail("http", format!("call {} is answered {status}: {}", call.0, String::from_utf8_lossy(body)));
        }
    }
}
