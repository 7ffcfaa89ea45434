//! Carries out the machine's store commands, several at once, by class.

use std::sync::Arc;

use bytes::Bytes;
use dolake_core::class_queue::ClassQueue;
use dolake_core::command::{Class, Condition, Op, Outcome};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::Store;
use crate::host::inbox::Inbox;
use crate::host::loops::ExitOnPanic;

/// Operations that run at once.
const RUNNING_MAX: usize = 8;

#[derive(Debug)]
enum Action {
    Put { bytes: Bytes, condition: Condition },
    Get { range: Option<(u64, u64)> },
    Delete,
}

#[derive(Debug)]
struct Request {
    op: Op,
    class: Class,
    key: String,
    action: Action,
}

/// The running queue. When it is dropped, what runs is finished and what waits is dropped.
#[derive(Debug)]
pub struct StoreQueue {
    requests: UnboundedSender<Request>,
}

impl StoreQueue {
    /// Starts serving on the current tokio runtime. Results go to `inbox`.
    pub fn start(store: Store, inbox: Inbox) -> StoreQueue {
        let (requests, receiver) = unbounded_channel();
        tokio::spawn(serve(Arc::new(store), receiver, inbox));
        StoreQueue { requests }
    }

    /// Queues the writing of an object.
    pub fn put(&self, op: Op, class: Class, key: String, bytes: Bytes, condition: Condition) {
        self.ask(Request { op, class, key, action: Action::Put { bytes, condition } });
    }

    /// Queues the reading of an object.
    pub fn get(&self, op: Op, class: Class, key: String, range: Option<(u64, u64)>) {
        self.ask(Request { op, class, key, action: Action::Get { range } });
    }

    /// Queues the deletion of an object.
    pub fn delete(&self, op: Op, class: Class, key: String) {
        self.ask(Request { op, class, key, action: Action::Delete });
    }

    fn ask(&self, request: Request) {
        // Only a runtime that is going down has dropped the other end; nobody waits for the result then.
        let _ = self.requests.send(request);
    }
}

async fn serve(store: Arc<Store>, mut requests: UnboundedReceiver<Request>, inbox: Inbox) {
    let mut waiting = ClassQueue::default();
    let mut running = JoinSet::new();
    loop {
        while running.len() < RUNNING_MAX
            && let Some(request) = waiting.pop()
        {
            let (store, inbox) = (Arc::clone(&store), inbox.clone());
            running.spawn(async move {
                // The machine would wait for this answer for ever.
                let _guard = ExitOnPanic;
                let Request { op, key, action, .. } = request;
                let outcome = run(&store, &key, action).await;
                inbox.done(op, outcome);
            });
        }
        tokio::select! {
            biased;
            Some(_) = running.join_next(), if !running.is_empty() => {}
            request = requests.recv() => match request {
                Some(request) => waiting.push(request.class, request),
                None => break,
            },
        }
    }
    while running.join_next().await.is_some() {}
}

async fn run(store: &Store, key: &str, action: Action) -> Outcome {
    match action {
        Action::Put { bytes, condition } => store.put(key, bytes, condition).await,
        Action::Get { range } => store.get(key, range).await,
        Action::Delete => store.delete(key).await,
    }
}
