//! Threads of the host. One that panics takes the process with it: a machine whose invariant broke, or whose journal
//! is gone, must not go on half alive. What was acked is durable, and a restart begins from there.

use std::thread::JoinHandle;

/// Exit code after a broken invariant; the same as Rust's own after a panic of the main thread.
const EXIT_BROKEN: i32 = 101;

/// Starts a named thread that ends the process if it panics.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = ExitOnPanic;
            run();
        })
        .expect("the system can start a thread")
}

struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(EXIT_BROKEN);
        }
    }
}
