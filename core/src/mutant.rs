//! Planted bugs: the proof that the simulator can see (`docs/SIMULATION.md`, "Mutants").
//!
//! Each [`Mutant`] stands at one place of this crate, as `mutant!(Name)` where the real bug would be. Without the cargo
//! feature `mutants`, which no released binary has, that is the constant `false` and nothing of it is compiled. With the
//! feature one build holds all of them, and `plant` switches one of them on for the current thread.
//!
//! Under that feature this is the one file of the crate that keeps something beside its arguments: which bug its thread
//! has. It is chosen before a run and not changed by it, so a run is as deterministic as any other.

/// Whether this bug is planted.
macro_rules! mutant {
    ($name:ident) => {
        crate::mutant::is_planted(crate::mutant::Mutant::$name)
    };
}

macro_rules! mutants {
    ($(#[doc = $breaks:literal] $name:ident,)*) => {
        /// A planted bug. Its documentation says what it does and, by number, which promise that breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $breaks] $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// What it does, and which promise that breaks.
            pub fn breaks(self) -> &'static str {
                match self {
                    $(Mutant::$name => $breaks.trim_ascii(),)*
                }
            }
        }
    };
}

mutants! {
    // Acks.
    /// A batch is acked before its write is confirmed (1).
    AckBeforeSave,
    /// A batch is marked as seen before the buffer-full check: nack, retry, `duplicate`, lost (4).
    SeenBeforeBufferCheck,
    /// A repeat of a batch whose save is under way is called a duplicate at once (1).
    DuplicateBeforeDurable,
    /// A journal write whose outcome is unknown counts as done (1).
    UnknownSaveAsDone,
    /// A journal write whose outcome is unknown counts as failed, and the batch is taken again (2).
    UnknownSaveAsFailed,
    /// A batch whose save failed stays known: sent again, it is called a duplicate (1).
    LostBatchStaysKnown,
    /// Who waits for the fate of another batch's save is never answered (7).
    WaitingForgotten,
    /// Answers leave as they are ready, not in the order of their batches (1).
    AnswersOutOfOrder,
    /// A cumulative ack reaches over a nack (1).
    CumulativeOverNack,
    /// A cumulative ack does not say where it begins (1).
    CumulativeWithoutFirst,
    /// The resume number passes an open hole (1).
    ResumeOfHighest,
    /// A `persisted` mark speaks of what is only in the journal (1).
    MarkOfDurable,
    /// A `persisted` mark passes events of a parked table (1).
    MarkPassesParked,
    /// Batches of a closed hole are not named before an `ok` or a mark passes them (1).
    ClosedHoleUnnamed,
    /// A connection's introduction is not kept with its socket: after an eviction its batches are of no epoch (2).
    IntroductionNotAttached,

    // Duplicates, holes, epochs.
    /// All up to the highest batch number counts as a duplicate, also with two sockets (2).
    HighestSequenceDedup,
    /// Events that a batch repeats are applied again (2).
    RepeatsAppliedAgain,
    /// Another batch under a known number is called a duplicate (4).
    ImpostorCalledDuplicate,
    /// Hashes are forgotten as soon as a batch left the journal (2).
    HashesForgottenAtOnce,
    /// A batch of a closed hole is called a duplicate (4).
    ClosedRangeForgotten,
    /// New events of a fenced epoch are taken (3).
    OldEpochTaken,
    /// What lies above an open hole is flushed (3).
    FlushAboveHole,
    /// A batch that filled a hole takes effect after those above it (3).
    FilledHoleLast,
    /// Batches of several sources take effect as they became ready, not by their place in the journal (3).
    ReadinessIsOrder,
    /// A hole is never given up (7).
    HoleNeverCloses,
    /// A hole is given up as soon as it is seen (4).
    HoleClosesAtOnce,
    /// A batch whose header contradicts its events is taken (4).
    HeaderNotChecked,

    // Refusals and bounds.
    /// `buffer_full` says not to retry (4).
    BufferFullForGood,
    /// A batch of a closed hole is to be retried, for ever (7).
    ClosedHoleRetried,
    /// The journal grows beyond `maxBufferSize` (6).
    BufferLimitIgnored,
    /// What waits behind holes has no limit (6).
    HoleBytesUnlimited,

    // Lives and time.
    /// The newest batch of the journal is lost with an eviction (1).
    TailLostOnEviction,
    /// No alarm is set before the first flush of a life (7).
    FirstAlarmNotArmed,
    /// A completion of a former life counts in this one (1).
    FormerLifeBelieved,
    /// One's own earlier success (412) at the store's marker counts as another lake's (7).
    OwnMarkerForeign,
    /// A store without a marker is claimed by a journal that has tables elsewhere (5).
    UnmarkedStoreClaimed,
    /// A clock that jumped back stands until it is where it was (7).
    ClockStandsAfterJumpBack,
    /// A clock that jumps ahead counts in full: holes close hours early (4).
    ClockJumpCountsInFull,
    /// The last chunk of a long journal entry is not written (1).
    LastChunkLost,

    // Flush.
    /// Batches leave the journal with the plan, not with the commit (1).
    ClearBufferTooEarly,
    /// Batches stay in the journal after their commit: the next life applies them again (2).
    FlushedRowsKept,
    /// The commit moves tables without their sources' frontiers (2).
    FrontierNotCommitted,
    /// A second attempt writes under the names of the first (5).
    AttemptNotCounted,
    /// A plan that was not saved is carried out (5).
    PlanFailureIgnored,
    /// A put whose outcome is unknown counts as done (5).
    UnknownPutAsDone,
    /// An unknown commit is read back with `>=` for `>`, and always counts as done (1).
    ReadBackOffByOne,
    /// An unknown commit counts as failed: its batches are flushed anew (2).
    UnknownCommitGivenBack,
    /// After an unknown commit its files are deleted, published or not (5).
    DeletesAfterFailedReply,
    /// A commit builds on the version before the last (5).
    StaleBase,
    /// What a lost attempt may have left in the store is not noted (5).
    GarbageNotLogged,
    /// The batches of a flush are applied last to first (3).
    FlushReversed,
    /// New events of a parked table overtake those that wait (3).
    ParkedOvertaken,
    /// New events of a table are lost when it is parked (4).
    ParkedShareLost,
    /// What is parked of a table has no limit (6).
    ParkedUnlimited,
    /// A parked table is not tried again by itself (7).
    ParkedNeverTried,
    /// The circuit breaker waits for ever for a probe that failed (7).
    ProbeNeverEnds,
    /// A version hint that is wanted while another is being written is forgotten (5).
    HintDropped,
    /// Whoever asks for a flush is told that it is done before it is (1).
    FlushAnsweredEarly,
    /// `dolake.frontier` is not moved (2).
    TableFrontierStale,

    // Iceberg.
    /// A commit forgets the oldest manifest (5).
    ManifestDropped,
    /// A merge of manifests forgets the files of one (5).
    MergedManifestDropped,
    /// A merge of manifests gives files a later sequence number (5).
    MergedSequenceNumber,
    /// A commit takes the sequence number of the one before (5).
    SequenceNumberStays,
    /// A snapshot's time falls when the clock jumps back (5).
    TimestampFalls,
    /// A manifest counts one row too many (5).
    RowsMiscounted,
    /// A column counts one null too many (5).
    NullsMiscounted,
    /// The upper bound of a long string is cut without being raised: readers skip files with matching rows (5).
    BoundCutShort,
    /// Snapshots never expire: metadata grows without end (6).
    SnapshotsNeverExpire,
    /// A new column is written to files and not to the schema (4).
    ColumnNotInSchema,

    // Rows.
    /// Values move up into rows that have none (4).
    NullsSwapped,
    /// A value that does not fit its column is dropped (4).
    RescueDropped,
    /// A row takes the source of the row before it (2).
    SourceOfRowBefore,
    /// Times are written in milliseconds where microseconds are due (2).
    TimestampsCut,
    /// An UPDATE shows the row as it was before (2).
    UpdateKeepsOldImage,
    /// Rows past a full row group are dropped (4).
    RowsPastGroupDropped,

    /// What came to wait behind a hole after the fact leaves no room for the batch that fills it (7).
    HolesLeaveNoRoom,
    // Sources whose numbers are sparse.
    /// Of the refused batches of a sparse source only the lowest is awaited: the next is passed over (1).
    SparseAwaitsLowest,
    /// A sparse source goes on, after an eviction, on a socket that outlived it: what was lost is passed over (1).
    SparseSocketOutlives,
    /// Batches of a sparse source are saved side by side: one is lost, and the next covers it (1).
    SparseSavesTogether,
    /// A batch that repeats events of a refused one ends the waiting for all of it: the rest is passed over (1).
    SparseRestForgotten,
    /// Of a sparse source, a batch that could not be read is forgotten: repaired, it is called a duplicate (1).
    UnreadBatchForgotten,
    /// A request that was refused unread is not taken for one of the epoch that begins after it (4).
    UnnamedBatchForgotten,
    // The producer's machine.
    /// A lost connection counts as delivered what was sent on it (4).
    ProducerDropsWindow,
    /// A batch is sent again under another number (2).
    ProducerRenumbers,
    /// Neither a suggested delay nor one of a nack is waited for (6).
    ProducerIgnoresDelay,
    /// A batch that was refused for now counts as refused for good (4).
    ProducerGivesUpOnRetry,
}

#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) const fn is_planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Plants a bug in all that this thread runs from now on; none, if `None`.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    pub(crate) fn is_planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use planted::is_planted;
#[cfg(feature = "mutants")]
pub use planted::plant;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_names_the_promise_that_it_breaks() {
        for mutant in Mutant::ALL {
            let promise = mutant.breaks().strip_suffix(").").and_then(|text| text.chars().last());
            assert!(promise.is_some_and(|number| ('1'..='7').contains(&number)), "{mutant:?}: {}", mutant.breaks());
        }
    }

    #[cfg(not(feature = "mutants"))]
    #[test]
    fn none_is_planted_without_the_feature() {
        assert!(Mutant::ALL.iter().all(|mutant| !is_planted(*mutant)));
    }
}
