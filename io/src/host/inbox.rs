//! The one queue through which everything reaches the machine.
//!
//! It has no limit of its own, since nothing may wait on it: frames and bodies pass the [`crate::host::gate`] first,
//! and the rest are results of commands, at most one for each command that the machine issued.

use bytes::Bytes;
use dolake_core::Event;
use dolake_core::command::{Op, Outcome, ResponseHead};
use dolake_core::event::{CallId, ConnId, Peer, RequestHead};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

pub use super::gate::Ballast;

/// What goes to a socket's own task.
#[derive(Debug)]
pub enum ToSocket {
    /// A text message.
    Frame(Bytes),
    /// Asks the peer for a sign of life.
    Ping,
    /// Says goodbye, after all that went before.
    Close {
        /// A WebSocket close code.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
}

/// The machine's end of a request's task.
#[derive(Debug)]
pub struct ToCall {
    /// Each unit lets the task read one more piece of the body.
    pub more: UnboundedSender<()>,
    /// The answer.
    pub answer: oneshot::Sender<(ResponseHead, Bytes)>,
}

/// Something for the machine.
#[derive(Debug)]
pub enum Input {
    /// A socket is there.
    Opened {
        /// The socket.
        conn: ConnId,
        /// Who is at the other end.
        peer: Peer,
        /// Its task. When this is dropped, the task says goodbye.
        socket: UnboundedSender<ToSocket>,
    },
    /// A request came.
    Requested {
        /// The request.
        call: CallId,
        /// Without its body.
        head: RequestHead,
        /// Its task.
        handle: ToCall,
    },
    /// Anything else, and the room that it holds in the gate.
    Event(Event, Ballast),
}

/// The end that everybody may put something into.
#[derive(Debug, Clone)]
pub struct Inbox {
    inputs: UnboundedSender<Input>,
}

/// A new queue.
pub fn inbox() -> (Inbox, UnboundedReceiver<Input>) {
    let (inputs, receiver) = unbounded_channel();
    (Inbox { inputs }, receiver)
}

impl Inbox {
    /// Delivers anything. After the machine has stopped, nothing happens.
    pub fn put(&self, input: Input) {
        let _ = self.inputs.send(input);
    }

    /// Delivers an event that holds no room in the gate.
    pub fn event(&self, event: Event) {
        self.put(Input::Event(event, Ballast::default()));
    }

    /// Delivers the result of a command.
    pub fn done(&self, op: Op, outcome: Outcome) {
        self.event(Event::Done { op, outcome });
    }
}
