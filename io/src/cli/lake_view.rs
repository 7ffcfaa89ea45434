//! Finds the tables of a lake by looking into its store, as an engine without a catalog would.

use std::collections::BTreeMap;
use std::time::Duration;

use dolake_core::command::Outcome;
use dolake_core::iceberg::metadata::TableMetadata;
use tokio::runtime::{Builder, Runtime};

use crate::store::{self, Store};

const METADATA_FOLDER: &str = "/metadata/";
const METADATA_SUFFIX: &str = ".metadata.json";
const MARKER: &str = "dolake.json";
const HINT: &str = "version-hint.text";

/// Pauses before a read that got no answer is tried again.
const AGAIN_AFTER: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Why a lake cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// There is no lake in it.
    #[error("{0}: expected a lake, found no dolake.json: is it the right place?")]
    NoLake(String),
    /// The store cannot be listed.
    #[error("store: expected a list of its objects, got: {0}")]
    List(object_store::Error),
    /// The system gives no runtime.
    #[error("the system refuses a runtime: {0}")]
    Runtime(std::io::Error),
    /// An object cannot be read.
    #[error("{key}: expected to read it, got: {message}")]
    Read {
        /// The object.
        key: String,
        /// What the store said.
        message: String,
    },
    /// A metadata file that is none.
    #[error("{key}: {message}")]
    Metadata {
        /// The object.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A store, looked at from a program without any other task.
#[derive(Debug)]
pub struct LakeView {
    runtime: Runtime,
    store: Store,
}

/// A table that was found.
#[derive(Debug)]
pub struct FoundTable {
    /// Its folder below the store's root.
    pub folder: String,
    /// Key of its current metadata file.
    pub metadata_key: String,
}

impl FoundTable {
    /// What the catalog calls it: the folder without the base path, with dots.
    pub fn name(&self) -> String {
        let below_base = self.folder.split_once('/').map_or(self.folder.as_str(), |(_, rest)| rest);
        below_base.replace('/', ".")
    }
}

/// Asks again where the answer says nothing about the object: the store was busy, or out of reach.
async fn patiently<F: Future<Output = Outcome>>(ask: impl Fn() -> F) -> Outcome {
    for pause in AGAIN_AFTER {
        let outcome = ask().await;
        let is_busy = matches!(&outcome, Outcome::Refused(failure) if failure.retry_after_ms.is_some());
        if !is_busy && !matches!(outcome, Outcome::Unknown(_)) {
            return outcome;
        }
        tokio::time::sleep(pause).await;
    }
    ask().await
}

impl LakeView {
    /// Opens a store that must be there.
    ///
    /// # Errors
    /// The store cannot be opened, or holds no lake.
    pub fn open(place: &str) -> Result<LakeView, LookError> {
        let view = LakeView::over(Store::open_to_read(place)?)?;
        match view.read(MARKER)? {
            Some(_) => Ok(view),
            None => Err(LookError::NoLake(place.to_owned())),
        }
    }

    /// Looks at a store that is open already.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub fn over(store: Store) -> Result<LakeView, LookError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(LookError::Runtime)?;
        Ok(LakeView { runtime, store })
    }

    /// The store's root as it stands in metadata.
    pub fn location(&self) -> &str {
        self.store.location()
    }

    /// The bytes of an object; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot tell.
    pub fn read(&self, key: &str) -> Result<Option<bytes::Bytes>, LookError> {
        let fail = |message: String| Err(LookError::Read { key: key.to_owned(), message });
        match self.runtime.block_on(patiently(|| self.store.get(key, None))) {
            Outcome::Got(bytes) => Ok(Some(bytes)),
            Outcome::Absent => Ok(None),
            Outcome::Refused(failure) | Outcome::Unknown(failure) => fail(failure.message),
            other @ (Outcome::Saved
            | Outcome::Loaded(_)
            | Outcome::Put
            | Outcome::Deleted
            | Outcome::Worked(_)
            | Outcome::Conflict) => unreachable!("a get never ends with {other:?}"),
        }
    }

    /// The bytes of an object that metadata names by its location; `None` if there is none.
    ///
    /// # Errors
    /// It lies outside of the store, or the store cannot tell.
    pub fn read_location(&self, location: &str) -> Result<Option<bytes::Bytes>, String> {
        match location.strip_prefix(self.location()).and_then(|key| key.strip_prefix('/')) {
            Some(key) => self.read(key).map_err(|error| error.to_string()),
            None => Err(format!("expected an object below {}", self.location())),
        }
    }

    /// Every table, by its folder. The current version is what `version-hint.text` says, else the highest there is.
    ///
    /// # Errors
    /// The store cannot be listed or read.
    pub fn tables(&self) -> Result<Vec<FoundTable>, LookError> {
        let objects = self.runtime.block_on(self.store.list("")).map_err(LookError::List)?;
        let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for object in objects {
            if let Some((folder, file)) = object.key.split_once(METADATA_FOLDER) {
                folders.entry(folder.to_owned()).or_default().push(file.to_owned());
            }
        }
        let mut tables = Vec::new();
        for (folder, files) in folders {
            if let Some(file) = self.current(&folder, &files)? {
                let metadata_key = format!("{folder}{METADATA_FOLDER}{file}");
                tables.push(FoundTable { folder, metadata_key });
            }
        }
        Ok(tables)
    }

    /// The current one of a table's metadata files.
    fn current(&self, folder: &str, files: &[String]) -> Result<Option<String>, LookError> {
        let versions = || files.iter().filter(|file| file.ends_with(METADATA_SUFFIX));
        if files.iter().any(|file| file == HINT) {
            let hint = self.read(&format!("{folder}{METADATA_FOLDER}{HINT}"))?.unwrap_or_default();
            // What a reader by path would open, whether it is there or not.
            return Ok(Some(format!("{}{METADATA_SUFFIX}", String::from_utf8_lossy(&hint).trim())));
        }
        Ok(versions().max().cloned())
    }

    /// A table's metadata.
    ///
    /// # Errors
    /// It cannot be read, or is no metadata.
    pub fn metadata(&self, table: &FoundTable) -> Result<TableMetadata, LookError> {
        let key = table.metadata_key.clone();
        let Some(json) = self.read(&key)? else {
            return Err(LookError::Read { key, message: "it is gone".to_owned() });
        };
        TableMetadata::parse(&json).map_err(|error| LookError::Metadata { key, message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use dolake_core::command::Failure;

    use super::*;

    /// How often a store was asked that answers so, and then has the object.
    fn asked(first: &Outcome, times: usize) -> (usize, Outcome) {
        let count = Cell::new(0);
        let ask = || {
            count.set(count.get() + 1);
            let outcome = if count.get() > times { Outcome::Got(bytes::Bytes::new()) } else { first.clone() };
            std::future::ready(outcome)
        };
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let outcome = runtime.block_on(patiently(ask));
        (count.get(), outcome)
    }

    #[test]
    fn a_busy_store_is_asked_again_and_one_that_says_no_is_not() {
        let failure = |retry_after_ms| Failure { message: "no".to_owned(), retry_after_ms };
        assert_eq!(asked(&Outcome::Unknown(failure(None)), 4), (5, Outcome::Got(bytes::Bytes::new())));
        assert_eq!(asked(&Outcome::Unknown(failure(None)), 5).0, 5);
        assert_eq!(asked(&Outcome::Refused(failure(Some(10))), 1).0, 2);
        assert_eq!(asked(&Outcome::Refused(failure(None)), 1).0, 1);
        assert_eq!(asked(&Outcome::Absent, 1), (1, Outcome::Absent));
    }
}
