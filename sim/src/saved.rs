//! What a run leaves when its host dies at some moment: journal and store, with what was made up and who was told what.
//! Kept as a file, it says for ever what a release wrote; a later one must go on from it.
//!
//! The text is JSON. Bytes that are text stand as they are after `t:`, all others as hexadecimal digits after `x:`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use dolake_core::command::Write;
use dolake_core::journal::Saved;
use serde::{Deserialize, Serialize};

use crate::decisions::Decisions;
use crate::journal::Journal;
use crate::plan::{Faults, Plan};
use crate::producers::Producer;
use crate::record::Recorder;
use crate::rng::Rng;
use crate::run::{Report, finish};
use crate::store::Store;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::world::{Chance, Listener, What, World};

/// How long producers go on to make batches after a state was taken up again, in milliseconds.
const GOES_ON_MS: u64 = 3_000;

/// More batches of each source after that.
const MORE_BATCHES: u64 = 5;

/// The seeds of lives that go on from a state; the names of files follow from them, and must be new.
const OTHER_LIVES: u64 = 0x0dd_11fe;

/// A state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The journal's format, as the release that wrote it counted.
    pub format_version: u32,
    /// The run: its seed, and how its plan differs from the calm one.
    pub run: Trace,
    /// The moment, in microseconds.
    pub now: u64,
    /// How far the host's clock was from it, in milliseconds.
    pub clock_offset_ms: i64,
    /// Lives so far.
    pub lives: u64,
    /// All entries of the journal.
    pub journal: Vec<(String, String)>,
    /// All objects of the store.
    pub store: BTreeMap<String, String>,
    /// Objects that a late put had spoiled.
    #[serde(default)]
    pub overtaken: Vec<String>,
    /// Sources with a real producer.
    pub real: Vec<String>,
    /// All that was made up.
    pub truth: Truth,
}

impl State {
    /// What is left if the host dies now.
    pub fn of(seed: u64, plan: &Plan, world: &World) -> State {
        let bytes = |bytes: &Bytes| to_text(bytes);
        let real = world.producers.iter().filter(|producer| producer.real.is_some());
        State {
            format_version: dolake_core::journal::FORMAT_VERSION,
            run: Trace::of(seed, plan, Decisions::default(), None),
            now: world.now,
            clock_offset_ms: world.clock_offset_ms,
            lives: world.host.lives,
            journal: world.journal.entries().map(|(key, value)| (bytes(key), bytes(value))).collect(),
            store: world.store.objects().map(|(key, value)| (key.clone(), bytes(value))).collect(),
            overtaken: world.store.overtaken().cloned().collect(),
            real: real.map(|producer| producer.source.clone()).collect(),
            truth: world.truth.clone(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none; says why.
    pub fn read(text: &str) -> Result<State, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// As JSON.
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("a state is plain data")
    }

    /// What its journal gives a new life.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn saved(&self) -> Result<Saved, String> {
        Ok(self.to_journal()?.saved())
    }

    /// Goes on from it, first with more batches and then without, both without faults, but for one more death of the host.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn go_on(&self) -> Result<Report, String> {
        let seed = self.run.seed ^ OTHER_LIVES;
        Ok(finish(seed, self.world(seed)?, &|_| None))
    }

    fn to_journal(&self) -> Result<Journal, String> {
        let entries = self.journal.iter().map(|(key, value)| Ok(Write::Put(to_bytes(key)?, to_bytes(value)?)));
        let mut journal = Journal::default();
        journal.apply(&entries.collect::<Result<Vec<_>, String>>()?);
        Ok(journal)
    }

    fn world(&self, seed: u64) -> Result<World, String> {
        let was = self.run.to_plan()?;
        let plan = Plan {
            faults: Faults::default(),
            sources: 0,
            batches: was.batches + MORE_BATCHES,
            chaos_ms: self.now / 1_000 + GOES_ON_MS,
            stays_broken: false,
            last_blow: true,
            ..was
        };
        let mut world = World::with(Chance::new(seed, Rng::new), plan, Listener::Nobody, Recorder::hashing());
        let objects = self.store.iter().map(|(key, value)| Ok((key.clone(), to_bytes(value)?)));
        let objects = objects.collect::<Result<_, String>>()?;
        world.now = self.now;
        world.clock_offset_ms = self.clock_offset_ms;
        world.host.lives = self.lives;
        world.journal = self.to_journal()?;
        world.store = Store::of(objects, self.overtaken.iter().cloned().collect());
        world.truth = self.truth.clone();
        for at in 0..world.truth.streams.len() {
            let source = world.truth.streams[at].source.clone();
            match world.producers.iter_mut().find(|producer| producer.source == source) {
                Some(producer) => producer.streams.push(at),
                None => world.producers.push(Producer::new(source, at)),
            }
        }
        for at in 0..world.producers.len() {
            if self.real.contains(&world.producers[at].source) {
                world.begin_machine(at);
            }
            world.queue.at(self.now, What::Turn(at));
        }
        // What the store holds is seen before anything new comes.
        world.commit_seen();
        Ok(world)
    }
}

fn to_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|char: char| char.is_control() && char != '\n') => format!("t:{text}"),
        _ => bytes.iter().fold("x:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

fn to_bytes(text: &str) -> Result<Bytes, String> {
    if let Some(text) = text.strip_prefix("t:") {
        return Ok(Bytes::from(text.to_owned()));
    }
    let digits = text.strip_prefix("x:").ok_or("expected t: or x:")?.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).ok_or_else(|| format!("expected a digit, got {byte}"));
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Ok((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => Err("half a byte".to_owned()),
    });
    bytes.collect::<Result<Vec<u8>, String>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        for bytes in [&b""[..], b"text", "größe\n".as_bytes(), b"\x00\xff", b"t:\x01", &(0..=255).collect::<Vec<u8>>()]
        {
            assert_eq!(to_bytes(&to_text(bytes)).as_deref(), Ok(bytes));
        }
        assert!(to_bytes("x:0").is_err() && to_bytes("x:0g").is_err() && to_bytes("00").is_err());
    }
}
