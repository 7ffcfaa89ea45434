//! Where the host's loops run: the machine, the journal and the workers wait for their queues as futures, so that they
//! can stand on threads of their own or all on one runtime whose time is simulated.

use std::pin::Pin;

use tokio::runtime::Builder;

/// Exit code after a broken invariant; the same as Rust's own after a panic of the main thread.
const EXIT_BROKEN: i32 = 101;

/// A loop of the host, until it has nothing to do any more.
pub type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs loops side by side.
pub trait Loops {
    /// Starts a loop. It may block where it works; others must not wait for it then. One that panics must take the
    /// whole host with it.
    fn start(&self, name: &str, body: Body);
}

/// Each loop on a thread of its own. One that panics takes the process with it: a machine whose invariant broke, or
/// whose journal is gone, must not go on half alive. What was acked is durable, and a restart begins from there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Threads;

impl Loops for Threads {
    fn start(&self, name: &str, body: Body) {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _guard = ExitOnPanic;
                let runtime = Builder::new_current_thread().enable_time().build();
                runtime.expect("a runtime without I/O asks nothing of the system").block_on(body);
            })
            .expect("the system can start a thread");
    }
}

/// Takes the process with it when the thread that holds it panics.
#[derive(Debug)]
pub struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(EXIT_BROKEN);
        }
    }
}
