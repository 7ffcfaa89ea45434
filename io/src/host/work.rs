//! The pool for CPU work: as many threads as cores, served by class.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use dolake_core::command::{Class, Op, Outcome};
use dolake_core::table::job::Job;

use super::class_queue::ClassQueue;
use super::inbox::Inbox;
use super::thread;

/// The running pool. Dropped, it lets its threads finish what they are at.
#[derive(Debug)]
pub struct WorkPool {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: ClassQueue<(Op, Box<Job>)>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a thread that panics ends the process")
    }
}

impl WorkPool {
    /// Starts `threads` threads. Results go to `inbox`.
    pub fn start(threads: usize, inbox: &Inbox) -> WorkPool {
        let shared = Arc::new(Shared::default());
        for n in 0..threads {
            let (shared, inbox) = (Arc::clone(&shared), inbox.clone());
            thread::spawn(&format!("work-{n}"), move || run(&shared, &inbox));
        }
        WorkPool { shared }
    }

    /// Queues a job.
    pub fn submit(&self, op: Op, class: Class, job: Box<Job>) {
        self.shared.lock().waiting.push(class, (op, job));
        self.shared.changed.notify_one();
    }
}

impl Drop for WorkPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

fn run(shared: &Shared, inbox: &Inbox) {
    while let Some((op, job)) = next(shared) {
        inbox.done(op, Outcome::Worked(Box::new(job.run())));
    }
}

/// Waits for a job; `None` when the pool is closed.
fn next(shared: &Shared) -> Option<(Op, Box<Job>)> {
    let mut state = shared.lock();
    loop {
        if state.closed {
            return None;
        }
        if let Some(item) = state.waiting.pop() {
            return Some(item);
        }
        state = shared.changed.wait(state).expect("a thread that panics ends the process");
    }
}
