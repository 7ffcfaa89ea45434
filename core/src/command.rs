//! What the machine wants done. Hosts carry these out in the order in which they come and report each result.
//!
//! Architecture invariant: a host decides nothing. Where two commands may be carried out at once, their [`Class`]
//! says which goes first when a host must choose.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::{CallId, ConnId};
use crate::table::job::{Job, JobOutput};

/// The name of a command whose result comes back as [`crate::Event::Done`].
///
/// It carries the life that asked. A completion of a life before a restart is recognised by it and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Op {
    /// Drawn from the [`crate::Seed`] of the life that asked.
    pub life: u64,
    /// Counts the commands of that life.
    pub n: u64,
}

/// In which order a host that must choose serves commands: the first variant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// A producer waits for it.
    Ack,
    /// Needed to go on taking events.
    Ingest,
    /// Moves events into the lake.
    Flush,
    /// A catalog client waits for it.
    Catalog,
    /// May wait.
    Upkeep,
}

/// A journal key. Keys are ordered bytewise; what is in them is the business of [`crate::journal`].
pub type Key = Bytes;

/// One change to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Sets a key.
    Put(Key, Bytes),
    /// Removes a key; one that is absent is no error.
    Delete(Key),
}

/// When a `Put` may take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// Only if nothing is there (`If-None-Match: *`); else [`Outcome::Conflict`].
    IfAbsent,
}

/// Something to do. Only those with an `op` have a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Sends a text message. It may be lost with its socket.
    Send {
        /// To whom.
        conn: ConnId,
        /// UTF-8 JSON.
        frame: Bytes,
    },
    /// Closes a socket, after what was sent before. [`crate::Event::Closed`] still follows.
    Close {
        /// The socket.
        conn: ConnId,
        /// A WebSocket close code.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
    /// Leaves at most [`crate::limits::ATTACHMENT_BYTES_MAX`] with a socket that may outlive the machine.
    Attach {
        /// The socket.
        conn: ConnId,
        /// Replaces what was attached before.
        bytes: Bytes,
    },
    /// One atomic journal transaction. Reported [`Outcome::Saved`] only when it is durable. Saves take effect in the
    /// order in which they were issued; several may share one sync.
    Save {
        /// Its name.
        op: Op,
        /// Applied in order.
        writes: Vec<Write>,
    },
    /// Reads the journal's entries with `from <= key < until`, in order, at most `limit` of them.
    Load {
        /// Its name.
        op: Op,
        /// The first key.
        from: Key,
        /// The key after the last.
        until: Key,
        /// Values are not wanted: they come back empty.
        keys_only: bool,
        /// At most so many entries.
        limit: usize,
    },
    /// Writes an object. A host may cut a large one into parts, so long as it appears whole or not at all.
    Put {
        /// Its name.
        op: Op,
        /// How urgent.
        class: Class,
        /// Below the store's root, `/` between its parts.
        key: String,
        /// The whole object.
        bytes: Bytes,
        /// When it may take effect.
        condition: Condition,
    },
    /// Reads an object, whole or a range of it.
    Get {
        /// Its name.
        op: Op,
        /// How urgent.
        class: Class,
        /// The object.
        key: String,
        /// First byte and the byte after the last; all of it when absent.
        range: Option<(u64, u64)>,
    },
    /// Deletes an object; one that is absent is no error.
    Delete {
        /// Its name.
        op: Op,
        /// How urgent.
        class: Class,
        /// The object.
        key: String,
    },
    /// CPU work without any effect but its output. Natively it runs on a pool, else inline.
    Work {
        /// Its name.
        op: Op,
        /// How urgent.
        class: Class,
        /// See [`Job::run`].
        job: Box<Job>,
    },
    /// Grants a request the sending of the next piece of its body.
    ReadMore {
        /// The request.
        call: CallId,
    },
    /// Answers a request, whole.
    Respond {
        /// The request.
        call: CallId,
        /// Status and headers.
        head: ResponseHead,
        /// The whole body.
        body: Bytes,
    },
    /// The machine takes events now. Comes once a life: when the store is known to be its own, or cannot be asked yet.
    Ready,
    /// The machine cannot go on, and an operator must act: the host says why and ends the process.
    Halt {
        /// One line.
        reason: String,
    },
    /// The answer to [`crate::Event::Shutdown`]: all is flushed or safe in the journal, the process may end.
    Stopped,
}

/// The commands of one step, in the order in which they are to be started.
pub type Commands = Vec<Command>;

/// An HTTP answer without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A `Save` is durable.
    Saved,
    /// What a `Load` found.
    Loaded(Vec<(Key, Bytes)>),
    /// A `Put` is durable and visible.
    Put,
    /// The bytes that a `Get` asked for.
    Got(Bytes),
    /// A `Delete` took effect.
    Deleted,
    /// What a `Work` made.
    Worked(Box<JobOutput>),
    /// A `Get` found nothing there.
    Absent,
    /// A conditional `Put` found something there. It may be one's own earlier success.
    Conflict,
    /// It certainly had no effect.
    Refused(Failure),
    /// It may have had its effect, or may still have it later: a timeout, a cut connection, a 5xx.
    Unknown(Failure),
}

/// How a command ended, once it is known which kind of command it was.
#[derive(Debug)]
pub(crate) enum Ending<T> {
    /// It had its effect, and brought this.
    Done(T),
    /// As [`Outcome::Refused`].
    Refused(Failure),
    /// As [`Outcome::Unknown`].
    Unknown(Failure),
}

impl<T> Ending<T> {
    /// For those to whom both failures are one.
    pub(crate) fn done(self) -> Result<T, Failure> {
        match self {
            Ending::Done(brought) => Ok(brought),
            Ending::Refused(failure) | Ending::Unknown(failure) => Err(failure),
        }
    }
}

/// What each kind of command may end with. Anything else is a host that does not keep to [`Command`], and panics.
#[expect(clippy::wildcard_enum_match_arm, reason = "all that a kind of command cannot end with is the same mistake")]
impl Outcome {
    /// Of a `Save`.
    pub(crate) fn of_save(self) -> Ending<()> {
        match self {
            Outcome::Saved => Ending::Done(()),
            other => other.failed("Save"),
        }
    }

    /// Of a `Load`.
    pub(crate) fn of_load(self) -> Ending<Vec<(Key, Bytes)>> {
        match self {
            Outcome::Loaded(entries) => Ending::Done(entries),
            other => other.failed("Load"),
        }
    }

    /// Of a `Put`: whether it found something there.
    pub(crate) fn of_put(self) -> Ending<bool> {
        match self {
            Outcome::Put => Ending::Done(false),
            Outcome::Conflict => Ending::Done(true),
            other => other.failed("Put"),
        }
    }

    /// Of a `Get`: nothing, where nothing is.
    pub(crate) fn of_get(self) -> Ending<Option<Bytes>> {
        match self {
            Outcome::Got(bytes) => Ending::Done(Some(bytes)),
            Outcome::Absent => Ending::Done(None),
            other => other.failed("Get"),
        }
    }

    /// Of a `Work`, which cannot fail.
    pub(crate) fn of_work(self) -> JobOutput {
        match self {
            Outcome::Worked(output) => *output,
            other => panic!("a host answered Work with {other:?}"),
        }
    }

    fn failed<T>(self, command: &str) -> Ending<T> {
        match self {
            Outcome::Refused(failure) => Ending::Refused(failure),
            Outcome::Unknown(failure) => Ending::Unknown(failure),
            other => panic!("a host answered {command} with {other:?}"),
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For the operator; no secrets in it.
    pub message: String,
    /// How long the other side asked to wait, if it did.
    pub retry_after_ms: Option<u64>,
}
