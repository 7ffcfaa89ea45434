//! What a run leaves behind: a hash over all of it and, where wanted, each life's events and commands, for replay.

use dolake_core::{Commands, Config, Event, Saved, Seed, Timestamp};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::host::story;

/// One life of the machine: all that went in, all that came out.
#[derive(Debug, Clone)]
pub struct Life {
    /// The settings of the host.
    pub config: Config,
    /// The seed of the life.
    pub seed: Seed,
    /// The host's clock at its start.
    pub began: Timestamp,
    /// What the journal gave it.
    pub saved: Saved,
    /// Each step.
    pub steps: Vec<(Timestamp, Event, Commands)>,
}

/// Keeps the record.
#[derive(Debug, Default)]
pub struct Recorder {
    hasher: Hasher,
    buffer: Vec<u8>,
    keeps: bool,
    lines: Option<Vec<String>>,
    /// The lives, oldest first, when they are kept.
    pub lives: Vec<Life>,
}

#[derive(Default)]
struct Hasher(Xxh3Default);

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0.digest())
    }
}

impl Recorder {
    /// Hashes only.
    pub fn hashing() -> Recorder {
        Recorder::default()
    }

    /// Keeps all lives, too.
    pub fn keeping() -> Recorder {
        Recorder { keeps: true, ..Recorder::default() }
    }

    /// Keeps a line of each event, each command and each byte string at the end, with its hash: where the lines of two
    /// runs part, the runs do.
    pub fn telling() -> Recorder {
        Recorder { lines: Some(Vec::new()), ..Recorder::default() }
    }

    /// The lines, where they are kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    pub(crate) fn begin(&mut self, config: &Config, seed: Seed, began: Timestamp, saved: &Saved) {
        self.feed(&seed.0.to_le_bytes());
        if self.keeps {
            let (config, saved) = (config.clone(), saved.clone());
            self.lives.push(Life { config, seed, began, saved, steps: Vec::new() });
        }
    }

    pub(crate) fn step(&mut self, now: Timestamp, event: &Event, commands: &Commands) {
        self.feed(&now.0.to_le_bytes());
        self.feed_encoded(event);
        self.feed_encoded(commands);
        if let Some(lines) = &mut self.lines {
            let line = |bytes: &[u8], words: &str| format!("{:016x} {} {words}", xxh3_64(bytes), now.0);
            lines.push(line(&encode(event), &story::event(event)));
            lines.extend(commands.iter().map(|command| line(&encode(command), &story::command(command))));
        }
        if self.keeps
            && let Some(life) = self.lives.last_mut()
        {
            life.steps.push((now, event.clone(), commands.clone()));
        }
    }

    /// Something that is there at the end of the run.
    pub(crate) fn remains(&mut self, key: &[u8], value: &[u8]) {
        self.feed(key);
        self.feed(value);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:016x} {} bytes remain: {}", xxh3_64(value), value.len(), key.escape_ascii()));
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.hasher.0.update(bytes);
    }

    fn feed_encoded<T: serde::Serialize>(&mut self, value: &T) {
        self.buffer.clear();
        self.buffer = postcard::to_extend(value, std::mem::take(&mut self.buffer)).expect(PLAIN);
        self.hasher.0.update(&self.buffer);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.0.digest()
    }
}

/// An event or its commands as bytes.
pub fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect(PLAIN)
}

const PLAIN: &str = "events and commands are plain data";
