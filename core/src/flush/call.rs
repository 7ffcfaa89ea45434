//! Store commands of a flush: what each is for, and how it is issued again after a failure.

use bytes::Bytes;

use crate::command::{Class, Condition};
use crate::context::Context;
use crate::pending::Pending;

/// One store command of one table's part of a flush. It can be issued any number of times: it reads, or it writes the
/// same bytes under a name that no other attempt uses.
#[derive(Debug, Clone)]
pub(crate) struct StoreCall {
    /// The flush it belongs to. One of a flush that is over changes nothing.
    pub(crate) flush: u64,
    /// The table, as events spell it.
    pub(crate) table: String,
    /// The object.
    pub(crate) key: String,
    /// Failures of its table that were counted when it was issued: those that failed together count once.
    pub(crate) round: u32,
    /// Whether its table was parked before: then a failure tells nothing new of the store.
    pub(crate) is_retry: bool,
    /// What to do with it.
    pub(crate) action: Action,
}

/// What a store command is for.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Read the table's metadata.
    ReadMetadata,
    /// Read the manifest list of the table's current snapshot.
    ReadManifestList,
    /// Read a manifest that is to be merged: its index in the manifest list.
    ReadManifest(usize),
    /// Read the frontier object that the table's properties name.
    ReadFrontier,
    /// Write a data file or a metadata object.
    Write(Bytes),
}

impl StoreCall {
    /// Issues it.
    pub(crate) fn issue(self, cx: &mut Context<'_>) {
        let key = self.key.clone();
        match &self.action {
            Action::ReadMetadata | Action::ReadManifestList | Action::ReadManifest(_) | Action::ReadFrontier => {
                cx.get(Class::Flush, key, Pending::Store(self));
            }
            Action::Write(bytes) => {
                let bytes = bytes.clone();
                cx.put(Class::Flush, key, bytes, Condition::Always, Pending::Store(self));
            }
        }
    }
}
