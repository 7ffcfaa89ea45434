//! The journal's file: an ordered map from key to value in SQLite, changed by atomic transactions.
//!
//! It knows nothing of what the keys mean and nothing of threads; [`super::Journal`] runs it on a thread of its own.
//!
//! Why the settings are as they are: values are batches of some 200 KB, written once, read almost never, and deleted
//! after the next flush. Large pages keep the chain of overflow pages short. The write-ahead log is kept at its full
//! size, so a sync has no new blocks to record, and is copied back only when it is large: most values are gone by
//! then, and their pages have been used again. Keys have an index of their own, so that a scan of keys touches no
//! value.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use dolake_core::command::{Key, Write};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The version of the file's layout, in SQLite's `user_version`. What the keys and values mean has its own version,
/// inside the machine's values.
const FORMAT_VERSION: i64 = 1;

/// SQLite's `application_id` of our files: "DoLk".
const APPLICATION_ID: i64 = 0x446f_4c6b;

const PAGE_BYTES: u32 = 16 << 10;

/// Size of the write-ahead log at which it is copied back into the file.
const WAL_BYTES_MAX: u64 = 32 << 20;

const PAGE_CACHE_KIB: u32 = 8 << 10;

/// Why a journal cannot be opened. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "journal {}: expected to be its only user, but another process has it open; stop that one or choose another --journal",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later DoLake wrote it.
    #[error(
        "journal {}: expected format version {FORMAT_VERSION} or older, got {found}; use the newer dolake that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Something else wrote it.
    #[error("journal {}: expected a journal of dolake, got another file; choose another --journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is not there, and was not to be made.
    #[error("journal {}: expected a file, found none", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file system or SQLite says no.
    #[error("journal {}: expected a file that can be written, got: {source}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// An open journal file. Nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Db {
    connection: Connection,
    /// About how much the write-ahead log has grown since it was last copied back.
    grown_bytes: u64,
}

/// What became of one of several saves that were committed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveResult {
    /// It is durable.
    Durable,
    /// It certainly had no effect.
    Refused(String),
    /// It may be durable or not.
    Unknown(String),
}

impl Db {
    /// Opens the journal and makes one if there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Db, OpenError> {
        Db::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens a journal that must be there already.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_existing(path: &Path) -> Result<Db, OpenError> {
        if !path.is_file() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        Db::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Db, OpenError> {
        let explain = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path: path.to_owned() },
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
            _ => OpenError::Failed { path: path.to_owned(), source },
        };
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(explain)?;
        take_alone(&connection).map_err(explain)?;
        let empty = match identity(&connection).map_err(explain)? {
            Identity::Empty => true,
            Identity::Ours { version } if version <= FORMAT_VERSION => false,
            Identity::Ours { version } => return Err(OpenError::Newer { path: path.to_owned(), found: version }),
            Identity::Foreign => return Err(OpenError::Foreign { path: path.to_owned() }),
        };
        tune(&connection).map_err(explain)?;
        if empty {
            create(&connection).map_err(explain)?;
        }
        // What a life left that did not end in good order.
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let grown_bytes = std::fs::metadata(log).map_or(0, |log| log.len());
        Ok(Db { connection, grown_bytes })
    }

    /// Commits several saves with one sync, in their order. One result for each.
    ///
    /// A save that fails is undone alone; the others go on. If the commit itself fails, nobody knows.
    pub fn save(&mut self, saves: &[&[Write]]) -> Vec<SaveResult> {
        match self.try_save(saves) {
            Ok(results) => results,
            Err(failure) => {
                // A failed statement may have ended the transaction already; then there is nothing to roll back.
                if !self.connection.is_autocommit() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
                vec![failure; saves.len()]
            }
        }
    }

    /// `Err` is the result of all the saves alike.
    fn try_save(&mut self, saves: &[&[Write]]) -> Result<Vec<SaveResult>, SaveResult> {
        let refused = |error: rusqlite::Error| SaveResult::Refused(error.to_string());
        self.run("BEGIN IMMEDIATE").map_err(refused)?;
        let mut results = Vec::with_capacity(saves.len());
        for writes in saves {
            self.grown_bytes += writes.iter().map(wal_bytes).sum::<u64>();
            results.push(match self.apply(writes) {
                Ok(()) => SaveResult::Durable,
                Err(error) => {
                    // SQLite ends the whole transaction by itself on a full disk and the like.
                    if self.connection.is_autocommit() {
                        return Err(refused(error));
                    }
                    self.run("ROLLBACK TO one").map_err(refused)?;
                    self.run("RELEASE one").map_err(refused)?;
                    refused(error)
                }
            });
        }
        self.run("COMMIT").map_err(|error| SaveResult::Unknown(error.to_string()))?;
        Ok(results)
    }

    /// Applies one save inside the open transaction.
    fn apply(&self, writes: &[Write]) -> rusqlite::Result<()> {
        self.run("SAVEPOINT one")?;
        for write in writes {
            match write {
                Write::Put(key, value) => self
                    .connection
                    .prepare_cached(
                        "INSERT INTO entries (key, value) VALUES (?1, ?2) \
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    )?
                    .execute((&key[..], &value[..]))?,
                Write::Delete(key) => {
                    self.connection.prepare_cached("DELETE FROM entries WHERE key = ?1")?.execute([&key[..]])?
                }
            };
        }
        self.run("RELEASE one")
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(|_| ())
    }

    /// The entries with `from <= key < until`, in order, at most `limit`; with `keys_only`, values come back empty.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn load(
        &self,
        from: &[u8],
        until: &[u8],
        keys_only: bool,
        limit: usize,
    ) -> rusqlite::Result<Vec<(Key, Bytes)>> {
        let text = if keys_only {
            "SELECT key, x'' FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
        } else {
            "SELECT key, value FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(text)?;
        let rows = statement.query_map((from, until, limit), |row| {
            let key: Vec<u8> = row.get(0)?;
            let value: Vec<u8> = row.get(1)?;
            Ok((Bytes::from(key), Bytes::from(value)))
        })?;
        rows.collect()
    }

    /// Copies the write-ahead log back into the file when it has grown large. Between commits, never inside one, so
    /// that nobody who waits for a commit waits for this too.
    ///
    /// # Errors
    /// What SQLite says. Nothing is lost: the log is kept, and grows until a later call succeeds.
    pub fn tidy(&mut self) -> rusqlite::Result<()> {
        if self.grown_bytes < WAL_BYTES_MAX {
            return Ok(());
        }
        self.grown_bytes = 0;
        self.checkpoint("PASSIVE")
    }

    /// Copies the whole log back and closes the file.
    ///
    /// # Errors
    /// What SQLite says. Nothing is lost: the log stays beside the file until the next start.
    pub fn close(self) -> rusqlite::Result<()> {
        self.checkpoint("TRUNCATE")
    }

    fn checkpoint(&self, mode: &str) -> rusqlite::Result<()> {
        self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
    }
}

/// About what a write adds to the log: its own pages, and one each of the table and of the index.
fn wal_bytes(write: &Write) -> u64 {
    let value_bytes = match write {
        Write::Put(_, value) => value.len() as u64,
        Write::Delete(_) => 0,
    };
    value_bytes + 2 * u64::from(PAGE_BYTES)
}

enum Identity {
    Empty,
    Ours { version: i64 },
    Foreign,
}

fn identity(connection: &Connection) -> rusqlite::Result<Identity> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    Ok(match (application, tables) {
        (APPLICATION_ID, _) => Identity::Ours { version: number("PRAGMA user_version")? },
        (0, 0) => Identity::Empty,
        _ => Identity::Foreign,
    })
}

/// From the first access on, the file belongs to this process alone, until it is closed. Changes nothing in it.
fn take_alone(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; \
         CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL) STRICT; \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION}; \
         COMMIT;"
    ))
}

/// The page size counts for a new file only.
fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = -1; PRAGMA temp_store = MEMORY; \
         PRAGMA cache_size = -{PAGE_CACHE_KIB}; BEGIN IMMEDIATE; COMMIT;"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn put(at: &str, value: &str) -> Write {
        Write::Put(key(at), key(value))
    }

    fn delete(at: &str) -> Write {
        Write::Delete(key(at))
    }

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.db");
        (folder, path)
    }

    #[track_caller]
    fn save(db: &mut Db, saves: &[&[Write]]) {
        assert_eq!(db.save(saves), vec![SaveResult::Durable; saves.len()]);
    }

    fn all(db: &Db) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let entries = db.load(b"", b"\xff", false, usize::MAX).expect("loads");
        entries.iter().map(|(key, value)| (text(key), text(value))).collect()
    }

    #[track_caller]
    fn check(db: &Db, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(all(db), expected);
    }

    #[test]
    fn the_log_of_a_life_that_was_killed_counts_in_the_next() {
        let (folder, path) = temporary();
        let mut db = Db::open(&path).expect("a new journal");
        let value = "x".repeat(1 << 20);
        for n in 0..40 {
            save(&mut db, &[&[put(&format!("k{n}"), &value)]]);
        }
        let (copy, log) = (folder.path().join("copy.db"), folder.path().join("copy.db-wal"));
        std::fs::copy(&path, &copy).expect("copies");
        std::fs::copy(folder.path().join("journal.db-wal"), &log).expect("copies");
        let length = || std::fs::metadata(&log).expect("a log").len();
        let before = length();
        let mut db = Db::open(&copy).expect("the same journal");
        db.tidy().expect("copies the log back");
        save(&mut db, &[&[put("last", &value)]]);
        assert_eq!(length(), before, "what comes next is written over it");
        assert_eq!(all(&db).len(), 41);
    }

    #[test]
    fn saves_take_effect_in_their_order() {
        let (_folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        save(&mut db, &[&[put("a", "1"), put("b", "1")], &[put("a", "2"), delete("b")], &[put("c", "3")]]);
        save(&mut db, &[&[delete("absent"), put("c", "4")]]);
        check(&db, &[("a", "2"), ("c", "4")]);
    }

    #[test]
    fn a_load_gives_a_range_in_order_up_to_its_limit() {
        let (_folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        save(&mut db, &[&[put("b2", "y"), put("a", "-"), put("b1", "x"), put("b3", "z"), put("c", "-")]]);
        let load = |keys_only, limit| db.load(b"b", b"c", keys_only, limit).expect("loads");
        assert_eq!(load(false, 2), [(key("b1"), key("x")), (key("b2"), key("y"))]);
        assert_eq!(load(true, 9), [(key("b1"), key("")), (key("b2"), key("")), (key("b3"), key(""))]);
        assert_eq!(load(true, 0), []);
    }

    #[test]
    fn a_save_that_fails_is_undone_alone() {
        let (_folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        db.connection
            .execute_batch(
                "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.entries WHEN NEW.key = x'62616421' \
                 BEGIN SELECT RAISE(ABORT, 'no room'); END",
            )
            .expect("a trigger to fail with");
        let results = db.save(&[&[put("a", "1")], &[put("b", "1"), put("bad!", "1")], &[put("c", "1")]]);
        assert_eq!(results, [SaveResult::Durable, SaveResult::Refused("no room".to_owned()), SaveResult::Durable]);
        check(&db, &[("a", "1"), ("c", "1")]);
    }

    #[test]
    fn a_failure_that_ends_the_transaction_refuses_all_of_it() {
        let (_folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        save(&mut db, &[&[put("a", "1")]]);
        db.connection
            .execute_batch(
                "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.entries WHEN NEW.key = x'62616421' \
                 BEGIN SELECT RAISE(ROLLBACK, 'disk gone'); END",
            )
            .expect("a trigger to fail with");
        let results = db.save(&[&[put("b", "1")], &[put("bad!", "1")], &[put("c", "1")]]);
        assert_eq!(results, vec![SaveResult::Refused("disk gone".to_owned()); 3]);
        check(&db, &[("a", "1")]);
        save(&mut db, &[&[put("d", "1")]]);
    }

    #[test]
    fn what_was_saved_is_there_after_the_process_was_killed() {
        let (folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        save(&mut db, &[&[put("a", "1")], &[put("b", &"x".repeat(200_000))]]);
        // What a process that is killed leaves behind: the files as they are, and no goodbye.
        let after = folder.path().join("after.db");
        std::fs::copy(&path, &after).expect("copies");
        std::fs::copy(folder.path().join("journal.db-wal"), folder.path().join("after.db-wal")).expect("copies");
        let reopened = Db::open(&after).expect("opens");
        assert_eq!(all(&reopened), all(&db));
        assert_eq!(all(&reopened).len(), 2);
    }

    #[test]
    fn a_log_cut_off_in_a_save_leaves_the_saves_before_it() {
        let (folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        save(&mut db, &[&[put("a", "1")]]);
        let wal = folder.path().join("journal.db-wal");
        let whole_bytes = std::fs::metadata(&wal).expect("is there").len();
        save(&mut db, &[&[put("b", &"x".repeat(200_000)), delete("a")]]);
        let cut_bytes = std::fs::metadata(&wal).expect("is there").len();
        for cut_at in [whole_bytes, whole_bytes + 1, (whole_bytes + cut_bytes) / 2, cut_bytes - 1] {
            let after = folder.path().join(format!("after-{cut_at}.db"));
            std::fs::copy(&path, &after).expect("copies");
            let log = std::fs::read(&wal).expect("reads");
            let log = &log[..usize::try_from(cut_at).expect("fits")];
            std::fs::write(folder.path().join(format!("after-{cut_at}.db-wal")), log).expect("writes");
            check(&Db::open(&after).expect("opens"), &[("a", "1")]);
        }
    }

    #[test]
    fn closing_copies_the_log_back() {
        let (folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        save(&mut db, &[&[put("a", "1")]]);
        db.close().expect("closes");
        let left = std::fs::metadata(folder.path().join("journal.db-wal")).map_or(0, |file| file.len());
        assert_eq!(left, 0);
        check(&Db::open_existing(&path).expect("opens"), &[("a", "1")]);
    }

    #[test]
    fn neither_log_nor_file_grows_with_what_has_gone_through() {
        let (folder, path) = temporary();
        let mut db = Db::open(&path).expect("opens");
        let value = "x".repeat(200_000);
        for n in 0..1_000_u32 {
            let gone = format!("{:05}", n.saturating_sub(10));
            save(&mut db, &[&[put(&format!("{n:05}"), &value), delete(&gone)]]);
            db.tidy().expect("tidies");
        }
        let bytes = |name: &str| std::fs::metadata(folder.path().join(name)).expect("is there").len();
        assert!(bytes("journal.db-wal") < 2 * WAL_BYTES_MAX, "{}", bytes("journal.db-wal"));
        assert!(bytes("journal.db") < 8 << 20, "{}", bytes("journal.db"));
    }

    #[test]
    fn a_journal_that_cannot_be_used_says_why() {
        let (folder, path) = temporary();
        let check = |path: &Path, expected: &str| {
            let message = Db::open(path).expect_err("cannot be used").to_string();
            assert_eq!(message, expected.replace("{}", &path.display().to_string()));
        };

        let db = Db::open(&path).expect("opens");
        check(
            &path,
            "journal {}: expected to be its only user, but another process has it open; \
             stop that one or choose another --journal",
        );
        db.connection.execute_batch("PRAGMA user_version = 7").expect("marks");
        db.close().expect("closes");
        check(&path, "journal {}: expected format version 1 or older, got 7; use the newer dolake that wrote it");

        let text = folder.path().join("text");
        std::fs::write(&text, "not a database, but long enough to be looked at ".repeat(100)).expect("writes");
        check(&text, "journal {}: expected a journal of dolake, got another file; choose another --journal");

        let foreign = folder.path().join("foreign.db");
        Connection::open(&foreign).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("makes");
        let before = std::fs::read(&foreign).expect("reads");
        check(&foreign, "journal {}: expected a journal of dolake, got another file; choose another --journal");
        assert_eq!(std::fs::read(&foreign).expect("reads"), before, "a foreign file is left as it was");

        let missing = folder.path().join("missing.db");
        let error = Db::open_existing(&missing).expect_err("is missing");
        assert_eq!(error.to_string(), format!("journal {}: expected a file, found none", missing.display()));
    }
}
