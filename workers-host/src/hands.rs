//! What the shell can do for the host. Each call does its part at once or begins it; none of them calls back.

use dolake_core::command::{Condition, ResponseHead, Write};
use dolake_core::event::{CallId, ConnId};

/// The number of a command whose result the shell brings back: [`dolake_core::Op::n`].
pub type Number = u64;

/// The shell, seen from here. In WebAssembly these are its imports, in tests a list of what was called.
pub trait Hands {
    /// Sends a text message.
    fn send(&mut self, conn: ConnId, frame: &[u8]);
    /// Closes a socket.
    fn close(&mut self, conn: ConnId, code: u16, reason: &str);
    /// Leaves bytes with a socket that may outlive the machine.
    fn attach(&mut self, conn: ConnId, bytes: &[u8]);
    /// Makes a transaction of these writes, whose values are packed; its end is reported when it is durable.
    fn save(&mut self, number: Number, writes: &[Write]);
    /// Reads the journal.
    fn load(&mut self, number: Number, from: &[u8], until: &[u8], keys_only: bool, limit: Option<u32>);
    /// Writes an object.
    fn put(&mut self, number: Number, key: &str, bytes: &[u8], condition: Condition);
    /// Reads an object, or a range of it: its first byte and the byte after its last. `for_client`: a client of the
    /// catalog waits for it, and nothing else depends on it.
    fn get(&mut self, number: Number, key: &str, range: Option<(u64, u64)>, for_client: bool);
    /// Deletes an object.
    fn delete(&mut self, number: Number, key: &str);
    /// Reads the next piece of a request's body.
    fn read_more(&mut self, call: CallId);
    /// Opens a socket for a request that asks for one.
    fn accept(&mut self, call: CallId);
    /// Answers a request.
    fn respond(&mut self, call: CallId, head: &ResponseHead, body: &[u8]);
    /// The machine cannot go on: an operator must act.
    fn halt(&mut self, reason: &str);
}
