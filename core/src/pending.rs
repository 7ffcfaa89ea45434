//! What a command was issued for: the machine's memory of every open command.

use crate::event::CallId;
use crate::flush::call::StoreCall;
use crate::flush::run::Entry;

/// The purpose of an open command. Its `Done` goes to the room that is named here.
#[derive(Debug)]
pub(crate) enum Pending {
    /// The lake's identity, at the start of a life.
    Identity(IdentityOp),
    /// A batch is being written to the journal.
    SaveBatch {
        /// Its place.
        place: u64,
    },
    /// Nobody knows whether a batch was written: its key is read back.
    ReadBackBatch {
        /// Its place.
        place: u64,
    },
    /// A source at rest is being loaded.
    LoadSource {
        /// Its name.
        source: String,
    },
    /// A source's row is being written that nobody waits for.
    SaveRow {
        /// The source.
        source: String,
    },
    /// A source's row with closed holes is being written; then its connections are told.
    SaveClosed {
        /// The source.
        source: String,
        /// Epoch, first and last batch number of each hole.
        closed: Vec<(String, (u64, u64))>,
    },
    /// The flush plan is being written.
    SavePlan,
    /// A cold batch, or a parked share that the flush tries, is being loaded.
    LoadEntry {
        /// The flush and its attempt.
        run: (u64, u32),
        /// What is loaded.
        entry: Entry,
    },
    /// Events of one table are being encoded.
    Encode {
        /// The table, as events spell it.
        table: String,
    },
    /// A store command of the flush.
    Store(StoreCall),
    /// The commit of a flush is being written.
    SaveCommit,
    /// Nobody knows whether the commit was written: its row is read back.
    ReadBackCommit,
    /// A table's hint for readers by path is being written.
    Hint {
        /// The table's folder.
        folder: String,
    },
    /// The metadata that a catalog client asked for.
    CallMetadata {
        /// Who asked.
        call: CallId,
    },
    /// New settings are being written.
    SaveSettings,
    /// Nobody knows whether they were written: their row is read back.
    ReadBackSettings,
}

/// The steps of finding out whose store this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityOp {
    /// A new lake's row is being written.
    SaveRow,
    /// The store's marker is being written.
    PutMarker,
    /// The store's marker is being read.
    GetMarker,
}
