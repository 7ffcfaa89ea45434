//! What every handler of a step needs: the time, the settings, and a place for commands.

use bytes::Bytes;

use crate::command::{Class, Command, Commands, Condition, Key, Op, Write};
use crate::config::Config;
use crate::flush::breaker::BreakerState;
use crate::ops::Ops;
use crate::pending::Pending;
use crate::seed::Draws;
use crate::table::job::Job;
use crate::time::{MachineTime, Timestamp};

/// As many entries as there are. One number on every target, so that a run means the same commands on all.
const ALL: usize = u32::MAX as usize;

/// The surroundings of one step.
pub(crate) struct Context<'a> {
    /// Machine time of this step.
    pub(crate) now: MachineTime,
    /// The host's clock in this step.
    pub(crate) wall: Timestamp,
    /// The settings in force.
    pub(crate) config: &'a Config,
    /// Where readers find the store: `file:///…`, `s3://bucket/prefix`; no slash at the end.
    pub(crate) location: &'a str,
    /// How the store does.
    pub(crate) store: StoreView,
    /// Names for commands.
    pub(crate) ops: &'a mut Ops<Pending>,
    /// Identifiers.
    pub(crate) draws: &'a mut Draws,
    /// The commands of this step.
    pub(crate) out: &'a mut Commands,
}

/// How the store does, for answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreView {
    /// The circuit breaker.
    pub(crate) breaker: BreakerState,
    /// Whether acks say `fallback`.
    pub(crate) failing: bool,
    /// Whether a flush is under way.
    pub(crate) flushing: bool,
    /// Time until age or interval begin a flush of what comes now.
    pub(crate) next_flush_ms: u64,
    /// The host's clock when the last flush ended.
    pub(crate) last_flush_ms: Option<i64>,
}

impl Context<'_> {
    /// Issues one journal transaction.
    pub(crate) fn save(&mut self, writes: Vec<Write>, purpose: Pending) -> Op {
        let op = self.ops.issue(purpose);
        self.out.push(Command::Save { op, writes });
        op
    }

    /// Reads the journal's entries of a range.
    pub(crate) fn load(&mut self, (from, until): (Key, Key), purpose: Pending) {
        let op = self.ops.issue(purpose);
        self.out.push(Command::Load { op, from, until, keys_only: false, limit: ALL });
    }

    /// Writes an object; the same bytes whatever is there.
    pub(crate) fn put(&mut self, class: Class, key: String, bytes: Bytes, condition: Condition, purpose: Pending) {
        let op = self.ops.issue(purpose);
        self.out.push(Command::Put { op, class, key, bytes, condition });
    }

    /// Reads a whole object.
    pub(crate) fn get(&mut self, class: Class, key: String, purpose: Pending) {
        let op = self.ops.issue(purpose);
        self.out.push(Command::Get { op, class, key, range: None });
    }

    /// Starts CPU work.
    pub(crate) fn work(&mut self, class: Class, job: Job, purpose: Pending) {
        let op = self.ops.issue(purpose);
        self.out.push(Command::Work { op, class, job: Box::new(job) });
    }

    /// The URI of an object.
    pub(crate) fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }

    /// The key of an object by its URI, if it lies in this store.
    pub(crate) fn key_of(&self, uri: &str) -> Option<String> {
        uri.strip_prefix(self.location)?.strip_prefix('/').map(str::to_owned)
    }
}

/// What a room commands in a step of its own.
#[cfg(test)]
pub(crate) fn commands_of(now: MachineTime, act: impl FnOnce(&mut Context<'_>)) -> Commands {
    let store = StoreView {
        breaker: BreakerState::Closed,
        failing: false,
        flushing: false,
        next_flush_ms: 0,
        last_flush_ms: None,
    };
    let (config, mut ops, mut draws) = (Config::default(), Ops::new(0), Draws::new(crate::seed::Seed(0)));
    let mut out = Commands::new();
    let (ops, draws, config) = (&mut ops, &mut draws, &config);
    act(&mut Context { now, wall: Timestamp(0), config, location: "mem://lake", store, ops, draws, out: &mut out });
    out
}
