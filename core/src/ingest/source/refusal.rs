//! Why a batch is refused: all of them are nack reason `invalid_sequence`, told apart by their message.
//!
//! Each message says what was expected, what came, and what to do.

/// A batch that is not taken. Its `Display` is the message of the nack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rule 1: the number belongs to another batch.
    #[error(
        "batch {number} was accepted before with events {}..={} and other content; got events {}..={}: \
         a source that starts over needs another sourceEpoch", known.0, known.1, got.0, got.1
    )]
    NumberTaken {
        /// The number.
        number: u64,
        /// First and last event of the accepted one.
        known: (u64, u64),
        /// First and last event of this one.
        got: (u64, u64),
    },
    /// Rule 1, for a batch too old to be remembered: all batches up to a higher number are there, but not its events.
    #[error(
        "expected a batch number above {complete}: up to there every batch has come; got batch {number} with event \
         {event}, which is new: a source that starts over needs another sourceEpoch"
    )]
    NumberPassed {
        /// The number.
        number: u64,
        /// The highest batch without a hole below.
        complete: u64,
        /// The first event of it that is not covered.
        event: u64,
    },
    /// Rule 2: it was awaited, and then given up.
    #[error(
        "event {event} of batch {number} came too late: events {}..={} were given up after the hole time-out and are \
         not in the lake; send them again under new event numbers or another sourceEpoch", closed.0, closed.1
    )]
    InClosedHole {
        /// The number.
        number: u64,
        /// The first such event.
        event: u64,
        /// First and last event of the closed hole.
        closed: (u64, u64),
    },
    /// Rule 4, without an epoch.
    #[error(
        "events {first}..={last} of batch {number} are covered already, and the batch is not known: resume after \
         batch {resume}; a source that starts over needs another sourceEpoch"
    )]
    CoveredWithoutEpoch {
        /// The number.
        number: u64,
        /// First event.
        first: u64,
        /// Last event.
        last: u64,
        /// The resume number.
        resume: u64,
    },
    /// A newer epoch has begun.
    #[error(
        "epoch {epoch:?} ended when epoch {by:?} began: event {event} of batch {number} is new and is not taken; \
         send it under the newer epoch"
    )]
    Fenced {
        /// The number.
        number: u64,
        /// The first event of it that is not covered.
        event: u64,
        /// Its epoch.
        epoch: String,
        /// The newest epoch.
        by: String,
    },
    /// Too many bytes wait behind a hole.
    #[error(
        "batch {number} lies behind a hole and {waiting_bytes} bytes of it wait already (limit {limit_bytes}): \
         send batch {awaited} first"
    )]
    BehindHole {
        /// The number.
        number: u64,
        /// The first batch that is missing.
        awaited: u64,
        /// What of this source waits.
        waiting_bytes: u64,
        /// What may wait: of this source, or what all sources together leave to it.
        limit_bytes: u64,
    },
    /// Too many holes are open.
    #[error(
        "batch {number} would open one more hole than the {limit} that a source may have: send batch {awaited} first"
    )]
    TooManyHoles {
        /// The number.
        number: u64,
        /// The first batch that is missing.
        awaited: u64,
        /// Open holes at most.
        limit: usize,
    },
    /// Too many holes were given up.
    #[error(
        "batch {number} would leave one more hole than the {limit} closed ones that an epoch may have: \
         go on with another sourceEpoch"
    )]
    TooManyClosed {
        /// The number.
        number: u64,
        /// Closed holes at most.
        limit: usize,
    },
    /// Too many epochs.
    #[error("the source has had {limit} epochs, which is the limit: go on with another sourceDoId")]
    TooManyEpochs {
        /// Epochs at most.
        limit: usize,
    },
    /// Its new events lie in too many pieces.
    #[error(
        "the new events of batch {number} fill more than {limit} holes at once: send them in smaller batches, or as \
         they were first numbered"
    )]
    TooManyPieces {
        /// The number.
        number: u64,
        /// Pieces at most.
        limit: usize,
    },
    /// Its epoch has numbers of batches: its own would be that of an event.
    #[error(
        "sequenceNumber: expected one, since the batches of epoch {epoch:?} have them: send it, or another sourceEpoch"
    )]
    Unnumbered {
        /// Its epoch.
        epoch: String,
    },
    /// Sparse: a refused batch must come first.
    #[error(
        "batch {number} cannot be taken before batch {awaited}, which was refused: send batch {awaited} again first"
    )]
    AwaitsRefused {
        /// The number.
        number: u64,
        /// The refused one.
        awaited: u64,
    },
    /// Sparse: so many refused batches are awaited that no more can be told apart.
    #[error("batch {number} follows {limit} refused batches, all of which must come first: send them again in order")]
    TooManyAwaited {
        /// The number.
        number: u64,
        /// Refused batches at most.
        limit: usize,
    },
    /// Sparse: the source has connected anew, or not since the machine began its life.
    #[error(
        "batch {number} came on another connection than the newest `connect`: a sparse source sends on that one only"
    )]
    OtherConnection {
        /// The number.
        number: u64,
    },
}

impl Refusal {
    /// Whether the same batch may be taken later.
    pub fn retry(&self) -> bool {
        match self {
            Refusal::InClosedHole { .. } if mutant!(ClosedHoleRetried) => true,
            Refusal::BehindHole { .. }
            | Refusal::TooManyHoles { .. }
            | Refusal::AwaitsRefused { .. }
            | Refusal::TooManyAwaited { .. }
            | Refusal::OtherConnection { .. } => true,
            Refusal::NumberTaken { .. }
            | Refusal::Unnumbered { .. }
            | Refusal::NumberPassed { .. }
            | Refusal::InClosedHole { .. }
            | Refusal::CoveredWithoutEpoch { .. }
            | Refusal::Fenced { .. }
            | Refusal::TooManyClosed { .. }
            | Refusal::TooManyEpochs { .. }
            | Refusal::TooManyPieces { .. } => false,
        }
    }
}

/// The message of the nack that names a closed hole before a mark passes it.
pub fn closed_hole_message(first_batch: u64, through_batch: u64) -> String {
    format!(
        "batches {first_batch}..={through_batch} did not come within the hole time-out and were given up; what they \
         held is not in the lake: send it again under new numbers or another sourceEpoch"
    )
}
