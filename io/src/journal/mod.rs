//! The journal's loop: takes saves and loads in their order, and makes one sync of all saves that are waiting.
//!
//! It decides nothing: what a save holds is the machine's business, how it is stored that of [`db`]. It blocks while the
//! disk works.

pub mod db;

use std::fmt::Display;

use dolake_core::command::{Failure, Key, Op, Outcome, Write};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::host::inbox::{Ballast, Inbox};
use crate::host::loops::Loops;
use db::{Db, SaveResult};
use dolake_core::Saved;
use dolake_core::journal::{BATCH_RANGE, CONTROL_RANGE};

/// Saves that share one sync at most, so that a long queue does not keep its first saves waiting.
const GROUP_SAVES_MAX: usize = 256;

enum Request {
    Save { op: Op, writes: Vec<Write>, ballast: Ballast },
    Load { op: Op, from: Key, until: Key, keys_only: bool, limit: usize },
}

/// The running journal. Dropped, it finishes what was asked of it.
#[derive(Debug)]
pub struct Journal {
    requests: UnboundedSender<Request>,
    closed: oneshot::Receiver<()>,
}

impl Journal {
    /// Starts the loop. Results go to `inbox`.
    pub fn start(db: Db, inbox: Inbox, loops: &dyn Loops) -> Journal {
        let (requests, receiver) = unbounded_channel();
        let (close, closed) = oneshot::channel();
        let body = async move {
            run(db, receiver, &inbox).await;
            let _ = close.send(());
        };
        loops.start("journal", Box::pin(body));
        Journal { requests, closed }
    }

    /// Queues an atomic transaction. `ballast` is let go when it is done.
    pub fn save(&self, op: Op, writes: Vec<Write>, ballast: Ballast) {
        self.ask(Request::Save { op, writes, ballast });
    }

    /// Queues a read, which sees all that was queued before.
    pub fn load(&self, op: Op, from: Key, until: Key, keys_only: bool, limit: usize) {
        self.ask(Request::Load { op, from, until, keys_only, limit });
    }

    fn ask(&self, request: Request) {
        self.requests.send(request).expect("the loop ends only when this sender is gone");
    }

    /// Finishes what was asked and closes the file.
    pub async fn close(self) {
        drop(self.requests);
        // A panic there has already ended the host.
        let _ = self.closed.await;
    }
}

async fn run(mut db: Db, mut requests: UnboundedReceiver<Request>, inbox: &Inbox) {
    let mut next = None;
    loop {
        let request = match next.take() {
            Some(request) => request,
            None => match requests.recv().await {
                Some(request) => request,
                None => break,
            },
        };
        match request {
            Request::Save { op, writes, ballast } => {
                let mut group = vec![(op, writes, ballast)];
                while group.len() < GROUP_SAVES_MAX && next.is_none() {
                    match requests.try_recv() {
                        Ok(Request::Save { op, writes, ballast }) => group.push((op, writes, ballast)),
                        Ok(load @ Request::Load { .. }) => next = Some(load),
                        Err(_) => break,
                    }
                }
                save(&mut db, group, inbox);
            }
            Request::Load { op, from, until, keys_only, limit } => {
                let outcome = match db.load(&from, &until, keys_only, limit) {
                    Ok(entries) => Outcome::Loaded(entries),
                    Err(error) => Outcome::Refused(failure(error.to_string())),
                };
                inbox.done(op, outcome);
            }
        }
    }
    if let Err(error) = db.close() {
        warn!(%error, "the journal's log stays beside it until the next start");
    }
}

fn save(db: &mut Db, group: Vec<(Op, Vec<Write>, Ballast)>, inbox: &Inbox) {
    let saves: Vec<&[Write]> = group.iter().map(|(_, writes, _)| writes.as_slice()).collect();
    let results = db.save(&saves);
    for ((op, writes, ballast), result) in group.into_iter().zip(results) {
        drop(writes);
        drop(ballast);
        let outcome = match result {
            SaveResult::Durable => Outcome::Saved,
            SaveResult::Refused(message) => {
                error!(message, "the journal refused a save");
                Outcome::Refused(failure(message))
            }
            SaveResult::Unknown(message) => {
                error!(message, "the journal does not tell whether a save is durable");
                Outcome::Unknown(failure(message))
            }
        };
        inbox.done(op, outcome);
    }
    if let Err(error) = db.tidy() {
        warn!(%error, "the journal's log could not be copied back; it grows until that succeeds");
    }
}

fn failure(message: impl Display) -> Failure {
    Failure { message: format!("journal: {message}"), retry_after_ms: None }
}

/// What the machine is restored from: its control entries, and the keys of the batches that wait.
///
/// # Errors
/// What SQLite says.
pub fn saved(db: &Db) -> rusqlite::Result<Saved> {
    let (from, until) = CONTROL_RANGE;
    let control = db.load(from, until, false, usize::MAX)?;
    let (from, until) = BATCH_RANGE;
    let batches = db.load(from, until, true, usize::MAX)?;
    Ok(Saved { control, batch_keys: batches.into_iter().map(|(key, _)| key).collect() })
}
