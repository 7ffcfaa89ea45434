//! Why a message was refused, in words that its author can act on.

use serde::{Deserialize, Serialize};

use crate::wire::json::JsonError;

/// Why something was not taken: the seed's `NackReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NackReason {
    /// The journal is at its limit.
    BufferFull,
    /// Too many messages.
    RateLimited,
    /// A batch or event number contradicts what came before.
    InvalidSequence,
    /// The message is not what the protocol says.
    InvalidFormat,
    /// DoLake failed.
    InternalError,
    /// DoLake stops.
    ShuttingDown,
    /// The message is too long.
    PayloadTooLarge,
    /// An event of it is too long.
    EventTooLarge,
    /// DoLake has too much to do.
    LoadShedding,
    /// The source has too many connections.
    ConnectionLimit,
    /// The address has too many connections.
    IpLimit,
}

/// A message that is refused by itself, whatever came before. Sending it again as it is cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// `invalid_format`, `payload_too_large` or `event_too_large`.
    pub reason: NackReason,
    /// Where, what was expected, and what came: `events[3].table: expected a string, got 7`.
    pub message: String,
    /// The limit in bytes, when one was passed.
    pub max_size: Option<u64>,
    /// What the message calls itself, as far as it can be read.
    pub named: Box<Named>,
}

/// What a refused message calls itself, so that the answer can name it. A field that is absent or of the wrong type
/// is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// `correlationId`
    pub correlation_id: Option<String>,
    /// `sourceDoId`
    pub source_do_id: Option<String>,
    /// `sourceEpoch`
    pub source_epoch: Option<String>,
    /// `sequenceNumber`
    pub sequence_number: Option<u64>,
}

/// An error on its way up: each level puts its own step before the path.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: NackReason,
    pub(super) path: String,
    pub(super) text: String,
    pub(super) max_size: Option<u64>,
}

/// Boxed, so that results of good messages stay small.
pub(super) type Parsed<T> = Result<T, Box<Refusal>>;

impl Refusal {
    /// A value that is valid JSON, but not what it should be.
    #[cold]
    pub(super) fn wrong(path: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Box<Refusal> {
        let text = format!("expected {expected}, got {got}");
        Box::new(Refusal { reason: NackReason::InvalidFormat, path: path.to_owned(), text, max_size: None })
    }

    /// A required field that is not there.
    #[cold]
    pub(super) fn missing(path: &str, expected: impl std::fmt::Display) -> Box<Refusal> {
        Refusal::wrong(path, expected, "nothing")
    }

    /// Something longer than its limit.
    #[cold]
    pub(super) fn too_large(reason: NackReason, max_bytes: u64, got_bytes: u64) -> Box<Refusal> {
        let text = format!("expected at most {max_bytes} bytes, got {got_bytes}");
        Box::new(Refusal { reason, path: String::new(), text, max_size: Some(max_bytes) })
    }

    /// Text that is not JSON.
    #[cold]
    pub(super) fn syntax(text: &str, error: JsonError) -> Box<Refusal> {
        let rest = text.get(error.at as usize..).unwrap_or_default();
        let got = rest.chars().next().map_or("the end".to_owned(), |char| format!("{char:?}"));
        let text = format!("{error}, got {got}");
        Box::new(Refusal { reason: NackReason::InvalidFormat, path: String::new(), text, max_size: None })
    }

    /// Puts a field's name before the path.
    #[cold]
    pub(super) fn inside(mut self: Box<Self>, step: &str) -> Box<Refusal> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }

    /// Where, what was expected, and what came.
    pub(super) fn message(&self) -> String {
        if self.path.is_empty() { self.text.clone() } else { format!("{}: {}", self.path, self.text) }
    }
}

/// How a value of a message is quoted in an error: as JSON, at most 40 characters of it.
pub(super) fn quote(json: &str) -> String {
    const QUOTED_CHARS_MAX: usize = 40;
    match json.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json.to_owned(),
    }
}
