//! What happens to the machine. Hosts deliver these to [`crate::Lake::step`], one at a time.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Op, Outcome};

/// A WebSocket, named by the host; unique within one life of the host's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId(pub u64);

/// An HTTP request, named by the host; unique within one life of the host's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u64);

/// Something that happened. The machine asked for some of it (`Done`), the world did the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A socket is there; or woke up with the machine, bringing what was attached to it.
    Opened {
        /// The socket.
        conn: ConnId,
        /// Who is at the other end.
        peer: Peer,
        /// What the last [`crate::Command::Attach`] left with this socket, when it outlived the machine.
        attachment: Option<Bytes>,
    },
    /// A message came.
    Received {
        /// The socket it came on.
        conn: ConnId,
        /// The whole message.
        frame: Frame,
    },
    /// The peer has taken this many more bytes of what was sent (as far as the host can see).
    Sent {
        /// The socket.
        conn: ConnId,
        /// Bytes of payload, not counting framing.
        bytes: usize,
    },
    /// The socket is gone. Nothing more is heard of it.
    Closed {
        /// The socket.
        conn: ConnId,
    },
    /// An HTTP request came. Its body follows as [`Event::BodyChunk`], piece by piece, as asked by `ReadMore`.
    Requested {
        /// The request.
        call: CallId,
        /// Method, path and headers.
        head: RequestHead,
    },
    /// A piece of a request's body.
    BodyChunk {
        /// The request.
        call: CallId,
        /// The piece; may be empty when `last`.
        bytes: Bytes,
        /// No more follows.
        last: bool,
    },
    /// The client went away before its answer was complete. Nothing more is heard of it.
    CallGone {
        /// The request.
        call: CallId,
    },
    /// A deadline passed. A spurious one changes nothing.
    Wake,
    /// The operator wants the machine to stop: refuse what is new, flush, answer with [`crate::Command::Stopped`].
    Shutdown,
    /// The result of a command.
    Done {
        /// The command's name. One of a former life is dropped.
        op: Op,
        /// What became of it.
        outcome: Outcome,
    },
}

/// Who is at the other end of a socket, as far as the upgrade request told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The remote address without its port.
    pub address: Option<String>,
    /// Header `X-Client-ID`: the source, until a `connect` says otherwise.
    pub client_id: Option<String>,
    /// Header `X-Shard-Name`.
    pub shard_name: Option<String>,
}

/// One WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// A text message. The machine checks that it is UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// An HTTP request without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// In capitals: `GET`, `POST`, …
    pub method: String,
    /// As sent: percent-encoded, without the query.
    pub path: String,
    /// As sent, without the `?`.
    pub query: Option<String>,
    /// Names in lower case, in the order of the request.
    pub headers: Vec<(String, String)>,
}

/// Paths at which a WebSocket may be opened.
pub const SOCKET_PATHS: [&str; 3] = ["/", "/lakehouse", "/lakehouse/"];

impl RequestHead {
    /// Whether this asks for a WebSocket, where there is one: hosts open it, and deliver [`Event::Opened`].
    pub fn wants_socket(&self) -> bool {
        let upgrade = self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        upgrade && SOCKET_PATHS.contains(&self.path.as_str())
    }

    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
