//! Holds what the machine says and does against what was made up. Each check is a file that cites the promise which it
//! guards, and says what it does not see.
//!
//! Where to add one: a file here, its line below, its call from the place where it can see (an answer in this file, a
//! commit in [`lake`], each second of calm times in [`liveness`], the end of a run in [`end`]), a test in `tests.rs` that
//! shows it failing, and a mutant that it catches.
//!
//! | check | promise |
//! |---|---|
//! | [`ack`] | 1: what is acked is in the journal or in the lake at that moment |
//! | [`mark`] | 1: what is called persisted is in the lake at that moment, with all below it |
//! | [`post`] | 1 and 4: what `POST /cdc` says of a batch is true |
//! | [`resume`] | 1: an `ok` passes nothing that is not durable, unless it was named as given up before |
//! | [`refusal`] | 4: a batch is refused for good only for a reason that it gave; answers come in order |
//! | [`http`] | every request is answered once |
//! | [`lake`] | 2 and 5: each row is an event, once, value by value; history is a line; all objects are there |
//! | [`catalog`] | 5: the catalog answers what the store has, and never goes back; old snapshots stay readable |
//! | [`phantom`] | 4: what was refused and not sent again is not in the lake |
//! | [`order`] | 3: nothing above an open hole is in the lake, no event is overtaken |
//! | [`liveness`] | 7: all comes to an end once faults stop |
//! | [`bounded`] | 6: the journal stays under its limits |
//! | [`whole`] | 2 and 5: in the end, all that metadata says is so |
//! | [`leftovers`] | 5: no data file is lost sight of, none that is named is deleted |
//! | [`settings`] | 1: a change of settings that was confirmed is in force, one that was refused is not |
//! | [`sparse`] | 1 and 2: of a sparse source that keeps to the order nothing is passed over |
//! | [`end`] | 5 and 7: what is left when all is done |

pub mod ack;
pub mod bounded;
pub mod catalog;
pub mod end;
pub mod http;
pub mod lake;
pub mod leftovers;
pub mod liveness;
pub mod mark;
pub mod order;
pub mod phantom;
pub mod post;
pub mod refusal;
pub mod resume;
pub mod settings;
pub mod sparse;
#[cfg(test)]
mod tests;
pub mod whole;

use bytes::Bytes;
use dolake_core::event::ConnId;
use dolake_core::wire::server::{Ack, AckStatus, ServerMessage};

use crate::world::{Tag, World};

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
}
