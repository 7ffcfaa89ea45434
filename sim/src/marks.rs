//! Rare states that a search must reach now and then, or it proves less than it seems to. They are seen from outside, in
//! what the machine commands and answers, so a mark says that the state really came about.

use dolake_core::Command;
use dolake_core::command::Write;

use crate::world::World;

/// What ten seeds of a search of 3,000 or more must each reach; it says which they did not.
pub const MARKS: [&str; 49] = [
    "ack cumulative",
    "ack duplicate",
    "ack fallback",
    "POST /cdc conflict",
    "POST /cdc refused",
    "POST /cdc spoilt",
    "POST /cdc taken",
    "another store",
    "answer lost",
    "attempt given up",
    "batch refused for good",
    "batch refused for now",
    "batch spoilt",
    "batches fill the memory",
    "change of settings refused",
    "change of settings unknown",
    "clock jump",
    "commit read back",
    "connection closed by the machine",
    "crash between commands",
    "entry of several chunks",
    "damaged metadata",
    "eviction",
    "events parked",
    "frontier in an object",
    "halted at another store",
    "hole named as given up",
    "impostor",
    "impostor applied",
    "last blow",
    "new epoch",
    "nack buffer_full",
    "nack invalid_format",
    "nack invalid_sequence",
    "nack shutting_down",
    "old snapshot read",
    "producer crash",
    "request given up",
    "save refused",
    "save unknown and applied",
    "settings changed",
    "sparse batch acked",
    "sparse batch too late",
    "store lands late",
    "store outage",
    "store unknown and applied",
    "table loaded",
    "table outage",
    "unparked",
];

impl World {
    /// Notes the marks that a command shows.
    pub(crate) fn note_marks(&mut self, command: &Command) {
        match command {
            Command::Load { from, .. } => {
                if from.starts_with(b"c/flush") {
                    self.count("commit read back");
                }
            }
            Command::Save { writes, .. } => {
                let puts =
                    |prefix: &[u8]| writes.iter().any(|w| matches!(w, Write::Put(key, _) if key.starts_with(prefix)));
                let parks = puts(&[b'b', 1]);
                let unparks = writes.iter().any(|w| matches!(w, Write::Delete(key) if key.starts_with(&[b'b', 1])));
                let attempts = puts(b"g/") && !puts(b"c/t/");
                let entries = writes.iter().filter(|w| matches!(w, Write::Put(key, _) if key.starts_with(&[b'b', 0])));
                let chunks = entries.count();
                for (seen, mark) in [
                    (parks, "events parked"),
                    (unparks, "unparked"),
                    (attempts, "attempt given up"),
                    (chunks > 1, "entry of several chunks"),
                ] {
                    if seen {
                        self.count(mark);
                    }
                }
            }
            Command::Put { key, .. } if key.contains("/metadata/frontier-") => self.count("frontier in an object"),
            Command::Send { .. }
            | Command::Close { .. }
            | Command::Attach { .. }
            | Command::Put { .. }
            | Command::Get { .. }
            | Command::Delete { .. }
            | Command::Work { .. }
            | Command::ReadMore { .. }
            | Command::Respond { .. }
            | Command::Ready
            | Command::Halt { .. }
            | Command::Stopped => {}
        }
    }
}
