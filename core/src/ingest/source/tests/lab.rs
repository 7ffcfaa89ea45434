//! A source on a bench: what it is sent, and its answers as short text.

use crate::event::ConnId;
use crate::ingest::source::{
    Arrival, BatchHead, Below, Greeting, Hello, Lowest, Opening, Place, Refused, Rules, SavedSource, Source, Verdict,
};
use crate::journal;
use crate::time::MachineTime;
use crate::wire::batch::{EventView, Operation, Span};

pub(super) fn nothing_parked(_epoch: &str) -> Lowest {
    Lowest::NOTHING
}

pub(super) fn rules() -> Rules {
    Rules {
        deduplicate: true,
        window_ms: 300_000,
        max_hole_bytes: 1_000,
        hole_room_bytes: 1_000_000,
        refusal_pause_ms: 60_000,
    }
}

pub(super) fn events(sequences: impl IntoIterator<Item = u64>) -> Vec<EventView> {
    let span = Span { start: 0, end: 0 };
    let event = |sequence| EventView {
        sequence,
        timestamp_ms: 0,
        operation: Operation::Insert,
        table: 0,
        row_id: span,
        before: None,
        after: Some(span),
        metadata: None,
    };
    sequences.into_iter().map(event).collect()
}

/// A batch of 100 bytes with all events of its range, hashed by its range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) epoch: &'a str,
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) hash: u128,
    pub(super) conn: Option<ConnId>,
    pub(super) is_numbered: bool,
    pub(super) opening: Opening,
}

pub(super) fn batch(epoch: &str, number: u64, first: u64, last: u64) -> Sent<'_> {
    let hash = u128::from(first) << 32 | u128::from(last);
    let opening = Opening { base: 0, sparse: false };
    Sent { epoch, number, first, last, hash, conn: None, is_numbered: true, opening }
}

pub(super) struct Lab {
    pub(super) source: Source,
    pub(super) now: MachineTime,
    pub(super) rules: Rules,
    pub(super) next_place: Place,
    pub(super) row: Option<SavedSource>,
}

impl Lab {
    pub(super) fn new() -> Lab {
        let mut source = Source::new();
        source.set_connected(true, MachineTime(0));
        Lab { source, now: MachineTime(0), rules: rules(), next_place: 0, row: None }
    }

    /// The verdict, and nothing else.
    pub(super) fn judge(&mut self, sent: Sent<'_>, sequences: impl IntoIterator<Item = u64>) -> Verdict {
        let Sent { epoch, number, hash, conn, is_numbered, opening, .. } = sent;
        let events = events(sequences);
        let place = self.next_place;
        let arrival = Arrival { place, epoch, number, is_numbered, events: &events, hash, bytes: 100, conn, opening };
        self.source.arrive(&arrival, self.now, &self.rules)
    }

    /// Sends a batch; if it is taken its save begins. The place it has, and the verdict in words.
    pub(super) fn issue(&mut self, sent: Sent<'_>) -> (Place, String) {
        let verdict = self.judge(sent, sent.first..=sent.last);
        let place = self.next_place;
        let text = match verdict {
            Verdict::Take(take) => {
                let repeats = if take.repeats > 0 { format!(", {} repeats", take.repeats) } else { String::new() };
                let hole = if take.below == Below::Hole { ", behind a hole" } else { "" };
                let text = format!("taken {}{repeats}{hole}", take.processed);
                self.source.issued(take);
                self.next_place += 1;
                text
            }
            Verdict::Duplicate { unverified: false } => "duplicate".to_owned(),
            Verdict::Duplicate { unverified: true } => "duplicate, unverified".to_owned(),
            Verdict::Wait { place } => format!("wait for {place}"),
            Verdict::Refuse(refusal) => {
                let retry = if refusal.retry() { "retry: " } else { "never: " };
                format!("{retry}{refusal}")
            }
        };
        (place, text)
    }

    /// Sends a batch; if it is taken it is saved at once.
    pub(super) fn send_as(&mut self, sent: Sent<'_>) -> String {
        let (place, text) = self.issue(sent);
        if text.starts_with("taken") {
            self.source.durable(place, self.now);
        }
        text
    }

    /// The same, in the epoch "e".
    pub(super) fn send(&mut self, number: u64, first: u64, last: u64) -> String {
        self.send_as(batch("e", number, first, last))
    }

    /// Sends batches that are all to be taken in full.
    pub(super) fn fill(&mut self, batches: &[(u64, u64, u64)]) {
        for (number, first, last) in batches {
            let answer = self.send(*number, *first, *last);
            assert!(answer.starts_with(&format!("taken {}", last - first + 1)), "batch {number}: {answer}");
        }
    }

    pub(super) fn connect(&mut self, epoch: &str, last_ack: u64) -> Greeting {
        self.source.connect(Hello { epoch, last_ack, sparse: false, conn: None }, self.now)
    }

    pub(super) fn refuse(&mut self, number: u64, events: (u64, u64), retry: bool) {
        let events = self::events(events.0..=events.1);
        let refused =
            Refused { epoch: "e", number: Some(number), events: Some(&events), after: 0, retry, sparse: true };
        self.source.refused(&refused, self.now, &self.rules);
    }

    /// Lets time pass, and closes what is due: the closed events.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<(u64, u64)> {
        self.now = self.now.after_ms(ms);
        let closed = self.source.close_due(self.now, &self.rules);
        closed.iter().map(|hole| hole.gap.events).collect()
    }

    /// Flushes all that can be.
    pub(super) fn flush(&mut self) {
        let places = self.source.flushable();
        self.release(&places);
    }

    pub(super) fn release(&mut self, places: &[Place]) {
        self.release_but(places, Lowest::NOTHING);
    }

    /// Releases batches of which something is parked.
    pub(super) fn release_but(&mut self, places: &[Place], parked: Lowest) {
        let row = self.source.saved_after_release(places, |_| parked, self.now, &self.rules);
        self.source.released(places, |_| parked, self.now, &self.rules);
        self.row = Some(row);
    }

    /// Writes the control row.
    pub(super) fn save(&mut self) {
        self.row = Some(self.source.to_saved(self.now));
    }

    /// Restarts from the row and the heads, as bytes.
    pub(super) fn restart(&mut self) {
        let row = self.row.as_ref().map(|row| SavedSource::decode(&row.encode()).expect("a row that was encoded"));
        let again = |head| journal::decode(b"a head", &journal::encode(head)).expect("an encoded head");
        let heads: Vec<BatchHead> = self.source.heads().map(again).collect();
        self.source = Source::restore(row, heads, self.now);
    }

    /// Missing events of the open holes.
    pub(super) fn holes(&self) -> Vec<(u64, u64)> {
        self.source.holes().iter().map(|hole| hole.gap.events).collect()
    }

    pub(super) fn resume(&self) -> Option<u64> {
        self.source.resume_number("e")
    }
}
