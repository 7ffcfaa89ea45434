//! A host, put together: the machine and its hands, each in its loop, and the network before them.
//!
//! What it is made of is the caller's choice: `dolake serve` takes the system's sockets, clock and threads, the
//! simulation simulated ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use dolake_core::{Event, Lake};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::inbox::{Inbox, inbox};
use super::loops::Loops;
use super::machine::{End, Machine};
use super::work::WorkPool;
use crate::journal::Journal;
use crate::journal::db::Db;
use crate::net::server::{self, Network};
use crate::store::{Store, StoreQueue};

/// How long open requests and sockets have for their goodbye after the machine has stopped.
const LEAVE: Duration = Duration::from_secs(3);

/// What a host is made of.
pub struct Parts<'a, L> {
    /// The machine, restored from `db`.
    pub lake: Lake,
    /// The journal's file.
    pub db: Db,
    /// Where the lake lies.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where the loops run.
    pub loops: &'a dyn Loops,
    /// CPU jobs that run at once.
    pub workers: usize,
    /// Where connections come from.
    pub listener: L,
}

/// What becomes of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It takes events. Comes at most once.
    Ready,
    /// It has ended. The last.
    Ended(End),
}

/// A host at work.
#[derive(Debug)]
pub struct Running {
    inbox: Inbox,
    /// `None` when that was told.
    ready: Option<oneshot::Receiver<()>>,
    ended: oneshot::Receiver<End>,
    stop_network: oneshot::Sender<()>,
    network: JoinHandle<()>,
}

impl Running {
    /// Starts everything, on the current tokio runtime and in loops of its own.
    pub fn start<L: Listener<Addr = SocketAddr>>(parts: Parts<'_, L>) -> Running {
        let Parts { lake, db, store, clock, loops, workers, listener } = parts;
        let (inbox, inputs) = inbox();
        let (is_ready, ready) = oneshot::channel();
        let machine = Machine::new(
            lake,
            Journal::start(db, inbox.clone(), loops),
            StoreQueue::start(store, inbox.clone()),
            WorkPool::start(workers, &inbox, loops),
            clock,
            is_ready,
        );
        let (has_ended, ended) = oneshot::channel();
        let body = async move {
            let _ = has_ended.send(machine.run(inputs).await);
        };
        loops.start("machine", Box::pin(body));
        let (stop_network, told) = oneshot::channel();
        let network = Arc::new(Network::new(inbox.clone()));
        let network = tokio::spawn(server::serve(listener, network, async {
            let _ = told.await;
        }));
        Running { inbox, ready: Some(ready), ended, stop_network, network }
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) -> Change {
        if let Some(ready) = &mut self.ready {
            tokio::select! {
                biased;
                Ok(()) = ready => {
                    self.ready = None;
                    return Change::Ready;
                }
                end = &mut self.ended => return ended(end),
            }
        }
        ended((&mut self.ended).await)
    }

    /// Asks the machine to flush and to stop.
    pub fn shutdown(&self) {
        self.inbox.event(Event::Shutdown);
    }

    /// Lets requests and sockets say goodbye, though not for long.
    pub async fn leave(self) {
        let _ = self.stop_network.send(());
        let _ = tokio::time::timeout(LEAVE, self.network).await;
    }
}

fn ended(end: Result<End, oneshot::error::RecvError>) -> Change {
    Change::Ended(end.expect("a machine that panics ends the host"))
}
