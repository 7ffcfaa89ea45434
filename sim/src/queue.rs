//! What is to happen, in the order of time. Nothing waits: the world jumps to the next entry.

use std::collections::BTreeMap;

/// Simulated microseconds since the start of the run.
pub type Micros = u64;

/// Entries that are due at the same moment come in the order in which they were added.
#[derive(Debug)]
pub struct Queue<T> {
    entries: BTreeMap<(Micros, u64), T>,
    added: u64,
}

impl<T> Queue<T> {
    /// Nothing is to happen.
    pub fn new() -> Queue<T> {
        Queue { entries: BTreeMap::new(), added: 0 }
    }

    /// Adds an entry.
    pub fn at(&mut self, due: Micros, what: T) {
        self.entries.insert((due, self.added), what);
        self.added += 1;
    }

    /// Takes the next entry.
    #[allow(clippy::should_implement_trait, reason = "a queue that is added to is no iterator")]
    pub fn next(&mut self) -> Option<(Micros, T)> {
        self.entries.pop_first().map(|((due, _), what)| (due, what))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue::new()
    }
}
