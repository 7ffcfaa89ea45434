//! The pool for CPU work: as many loops as cores, served by class.

use std::sync::{Arc, Mutex};

use dolake_core::class_queue::ClassQueue;
use dolake_core::command::{Class, Op, Outcome};
use dolake_core::table::job::Job;
use tokio::sync::Semaphore;

use super::inbox::Inbox;
use super::loops::Loops;

/// The running pool. Dropped, it lets its workers finish what they are at.
#[derive(Debug)]
pub struct WorkPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<ClassQueue<(Op, Box<Job>)>>,
    /// As many permits as jobs wait. Closed with the pool.
    jobs: Semaphore,
}

impl WorkPool {
    /// Starts `workers` loops. Results go to `inbox`.
    pub fn start(workers: usize, inbox: &Inbox, loops: &dyn Loops) -> WorkPool {
        let shared = Arc::new(Shared { waiting: Mutex::default(), jobs: Semaphore::new(0) });
        for n in 0..workers {
            loops.start(&format!("work-{n}"), Box::pin(run(Arc::clone(&shared), inbox.clone())));
        }
        WorkPool { shared }
    }

    /// Queues a job.
    pub fn submit(&self, op: Op, class: Class, job: Box<Job>) {
        self.shared.waiting.lock().expect("a worker that panics ends the host").push(class, (op, job));
        self.shared.jobs.add_permits(1);
    }
}

impl Drop for WorkPool {
    fn drop(&mut self) {
        self.shared.jobs.close();
    }
}

async fn run(shared: Arc<Shared>, inbox: Inbox) {
    while let Some((op, job)) = next(&shared).await {
        inbox.done(op, Outcome::Worked(Box::new(job.run())));
    }
}

/// Waits for a job; `None` when the pool is closed.
async fn next(shared: &Shared) -> Option<(Op, Box<Job>)> {
    shared.jobs.acquire().await.ok()?.forget();
    shared.waiting.lock().expect("a worker that panics ends the host").pop()
}
