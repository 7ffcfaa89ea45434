//! What producers made up: every event with all that it must become in the lake, and every batch with its fate.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::plan::Plan;
use crate::rng::Rng;

/// Tables of the workload.
pub const TABLES: [&str; 3] = ["users", "orders", "shop.items"];

/// The name of a table or operation. (Under a name of its own, or serde takes it for a part of what it reads.)
pub type Word = &'static str;

/// Events of the batch before that one may begin with: all of its events must fit into a message.
const OVERLAP_MAX: usize = 12;

/// How many batches back one may repeat that says nothing new.
const OLD_MAX: usize = 8;

/// Names an event in the whole run; its row carries it.
pub type Uid = u64;

/// An event.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Its stream.
    pub stream: usize,
    /// `sequence`.
    pub sequence: u64,
    /// `timestamp`.
    pub timestamp_ms: i64,
    /// `table`.
    #[serde(deserialize_with = "word")]
    pub table: Word,
    /// `operation`.
    #[serde(deserialize_with = "word")]
    pub operation: Word,
    /// `rowId`.
    pub row_id: String,
    /// The image that fills the user's columns: `after`, or for a DELETE `before`.
    pub image: Map<String, Value>,
    /// As it stands in the batch.
    pub json: String,
    /// The batches of its stream that carry it.
    pub batches: Vec<usize>,
    /// It was made up to be refused, and must never be seen.
    pub is_impostor: bool,
}

/// Where a batch stands, as its producer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// To be sent at this moment (microseconds) or later.
    Due(u64),
    /// Sent, and not answered since.
    Sent(u64),
    /// Acked.
    Acked,
    /// Refused for good.
    Refused,
}

impl State {
    /// Whether it has its answer.
    pub fn is_final(self) -> bool {
        matches!(self, State::Acked | State::Refused)
    }
}

impl Default for State {
    fn default() -> State {
        State::Due(0)
    }
}

/// A batch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// `sequenceNumber`.
    pub number: u64,
    /// Its events.
    pub events: Vec<Uid>,
    /// First and last event number.
    pub range: (u64, u64),
    /// As its producer sees it.
    pub state: State,
    /// Times that it reached the machine.
    pub received: u64,
    /// Times that the machine refused it.
    pub nacked: u64,
    /// The machine said that it has it.
    pub acked: bool,
    /// How often.
    pub acks: u64,
    /// The machine gave its hole up.
    pub closed: bool,
    /// The life that said so. A closing that the journal did not take is forgotten with its life.
    pub closed_in: u64,
    /// When that life first said so, by its clock.
    pub closed_at: i64,
    /// It stays away until its hole is closed.
    pub absent: bool,
    /// Times that it was sent.
    pub sends: u64,
    /// Length of its events as JSON.
    pub events_bytes: u64,
    /// It was not durable when a newer epoch was opened: it must never be taken.
    pub barred: bool,
    /// It was sent as what no batch is, and is repaired when that is refused.
    pub is_spoilt: bool,
    /// The last life that refused it before any above it had come.
    pub awaited_in: u64,
}

/// One epoch of one source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// `sourceDoId`.
    pub source: String,
    /// `sourceEpoch`.
    pub epoch: String,
    /// Rising by number.
    pub batches: Vec<Batch>,
    /// A newer epoch of its source has begun.
    pub is_over: bool,
    /// Its numbers are sparse by nature: it knows no holes.
    pub is_sparse: bool,
    /// It is sparse, and its producer does not keep to what is asked of one: what it sends late may have been passed over.
    pub may_overtake: bool,
    /// It is sparse, and its producer sends on one socket and in order, but waits for no answer before it goes on.
    pub is_eager: bool,
    /// Its batches have no numbers of their own: the last event's counts.
    pub is_unnumbered: bool,
    /// So many batches at the start have their final answer.
    pub settled: usize,
    /// So many batches at the start are in the lake with all their events.
    pub complete: usize,
}

impl Stream {
    /// The batches that may still change, with their place.
    pub fn unsettled(&mut self) -> impl Iterator<Item = (usize, &mut Batch)> {
        while self.batches.get(self.settled).is_some_and(|batch| batch.state.is_final()) {
            self.settled += 1;
        }
        self.batches.iter_mut().enumerate().skip(self.settled)
    }

    /// Whether a batch was sent first as what no batch is, so that others may have passed over it.
    pub fn may_pass_over(&self, batch: &Batch) -> bool {
        self.is_sparse && batch.is_spoilt
    }

    /// Whether it ended before all was sent: what lies above a hole waits longer than a run lasts, for nobody is connected.
    pub fn left_a_hole(&self) -> bool {
        self.is_over && self.batches.iter().any(|batch| !batch.acked)
    }
}

/// All that was made up. Saved states keep it ([`crate::saved`]), so what is new in it has a default that fits the old ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Truth {
    /// By uid.
    pub events: Vec<Event>,
    /// All epochs of all sources.
    pub streams: Vec<Stream>,
    /// Nothing is compared (`enableDeduplication` is off): each batch that comes is applied, however often it came.
    pub applies_each: bool,
}

impl Truth {
    /// Begins an epoch.
    pub fn open(&mut self, source: String, epoch: String) -> usize {
        self.streams.push(Stream {
            source,
            epoch,
            batches: Vec::new(),
            is_over: false,
            is_sparse: false,
            may_overtake: false,
            is_eager: false,
            is_unnumbered: false,
            settled: 0,
            complete: 0,
        });
        self.streams.len() - 1
    }

    /// Follows what came into the lake.
    pub fn advance_complete(&mut self, lake: &BTreeSet<Uid>) {
        for stream in &mut self.streams {
            let is_whole = |batch: &Batch| batch.events.iter().all(|uid| lake.contains(uid));
            while stream.batches.get(stream.complete).is_some_and(is_whole) {
                stream.complete += 1;
            }
        }
    }

    /// How often an event came.
    pub fn arrivals(&self, uid: Uid) -> u64 {
        let event = &self.events[uid as usize];
        let batches = &self.streams[event.stream].batches;
        if event.is_impostor { 1 } else { event.batches.iter().map(|at| batches[*at].received).sum() }
    }

    /// The stream of a source and epoch.
    pub fn find(&self, source: &str, epoch: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.source == source && stream.epoch == epoch)
    }

    /// The batch with a number.
    pub fn batch(&self, stream: usize, number: u64) -> Option<usize> {
        self.streams[stream].batches.binary_search_by_key(&number, |batch| batch.number).ok()
    }

    /// Makes up the next batch of a stream. Returns its index.
    pub fn make(&mut self, stream: usize, plan: &Plan, now_ms: i64, rng: &mut Rng) -> usize {
        let last = self.streams[stream].batches.last().cloned();
        let jump = |rng: &mut Rng| {
            if rng.at("number jump").chance(plan.number_jumps) { rng.at("jump by").between(1, 5) } else { 0 }
        };
        let is_sparse = self.streams[stream].is_sparse;
        let mut number = last.as_ref().map_or(0, |batch| batch.number) + 1;
        if is_sparse {
            number += rng.at("sparse number").below(40);
        }
        let highest = self.streams[stream].batches.iter().map(|batch| batch.range.1).max();
        let mut sequence = highest.unwrap_or(0) + jump(rng);
        let mut events: Vec<Uid> = Vec::new();
        let may_be_0 = last.is_none() && plan.overlap == 0 && !self.streams[stream].is_unnumbered;
        if may_be_0 && rng.at("from 0").one_in(4) {
            events.push(self.make_event(stream, 0, plan, now_ms, false, rng));
        }
        if let Some(last) = &last
            && rng.at("overlap").chance(plan.overlap)
        {
            let again = rng.at("overlap by").between(1, last.events.len().min(OVERLAP_MAX) as u64) as usize;
            events.extend(&last.events[last.events.len() - again..]);
            sequence = highest.unwrap_or(0);
        }
        if is_sparse {
            sequence += rng.at("sparse event").below(100);
        }
        // One that says nothing new, so that no event is its own. Without a number it would take that of the one before.
        let may_be_old = is_sparse && !events.is_empty() && last.is_some() && !self.streams[stream].is_unnumbered;
        let is_old = may_be_old && rng.at("nothing new").one_in(4);
        // What an older one held is in the lake or the journal if that was acked, and the source keeps to the order.
        let known = self.streams[stream].batches.iter().rev().take(OLD_MAX).filter(|batch| batch.acked);
        let known: Vec<&Batch> = known.filter(|_| is_old && !self.streams[stream].may_overtake).collect();
        if !known.is_empty() {
            events.clone_from(&rng.at("how old").pick(&known).events);
        }
        let count = if is_old { 0 } else { rng.at("events").between(1, plan.batch_events_max) };
        for _ in 0..count {
            sequence +=
                1 + if rng.at("gap").chance(plan.number_jumps / 4) { rng.at("gap by").between(1, 3) } else { 0 };
            events.push(self.make_event(stream, sequence, plan, now_ms, false, rng));
        }
        let sequence_of = |uid: &Uid| self.events[*uid as usize].sequence;
        let range = (sequence_of(&events[0]), sequence_of(&events[events.len() - 1]));
        let number = if self.streams[stream].is_unnumbered { range.1 } else { number };
        let index = self.streams[stream].batches.len();
        for uid in &events {
            self.events[*uid as usize].batches.push(index);
        }
        self.streams[stream].batches.push(Batch {
            number,
            events,
            range,
            state: State::Due(0),
            received: 0,
            nacked: 0,
            acked: false,
            acks: 0,
            closed: false,
            closed_in: 0,
            closed_at: 0,
            absent: false,
            sends: 0,
            events_bytes: 0,
            barred: false,
            is_spoilt: false,
            awaited_in: 0,
        });
        let bytes = self.events_json(&self.streams[stream].batches[index].events).len() as u64;
        self.streams[stream].batches[index].events_bytes = bytes;
        index
    }

    /// Makes up other events with the numbers of a batch.
    pub fn make_impostor(&mut self, stream: usize, batch: usize, plan: &Plan, now_ms: i64, rng: &mut Rng) -> Vec<Uid> {
        let uids = self.streams[stream].batches[batch].events.clone();
        uids.into_iter()
            .map(|uid| self.make_event(stream, self.events[uid as usize].sequence, plan, now_ms, true, rng))
            .collect()
    }

    fn make_event(
        &mut self,
        stream: usize,
        sequence: u64,
        plan: &Plan,
        now_ms: i64,
        is_impostor: bool,
        rng: &mut Rng,
    ) -> Uid {
        let uid = self.events.len() as Uid;
        let table = *rng.at("table").pick(&TABLES);
        let operation = *rng.at("operation").pick(&["INSERT", "INSERT", "UPDATE", "DELETE"]);
        let row_id = format!("row-{}", rng.at("row").below(20));
        let image = make_image(uid, plan, rng);
        let timestamp_ms = now_ms - rng.at("event age").below(1_000) as i64;
        let mut former = (operation == "UPDATE").then(|| make_image(uid, plan, rng));
        // Two of these would be more than an event may have.
        former.iter_mut().for_each(|former| drop(former.remove("blob")));
        let (before, after) = match operation {
            "DELETE" => (Some(&image), None),
            _ => (former.as_ref(), Some(&image)),
        };
        let sent = Sent { after, before, operation, row_id: &row_id, sequence, table, timestamp: timestamp_ms };
        let json = serde_json::to_string(&sent).expect("plain data");
        self.events.push(Event {
            stream,
            sequence,
            timestamp_ms,
            table,
            operation,
            row_id,
            image,
            json,
            batches: Vec::new(),
            is_impostor,
        });
        uid
    }

    /// The array `events` of a batch.
    pub fn events_json(&self, events: &[Uid]) -> String {
        let parts: Vec<&str> = events.iter().map(|uid| self.events[*uid as usize].json.as_str()).collect();
        format!("[{}]", parts.join(","))
    }
}

/// The name of a table or operation, from a saved state. There are few, and they live as long as the process.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
    let text = String::deserialize(from)?;
    let known = TABLES.into_iter().chain(["INSERT", "UPDATE", "DELETE"]).find(|known| **known == *text);
    Ok(known.unwrap_or_else(|| Box::leak(text.into_boxed_str())))
}

/// An event as a producer sends it.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a Map<String, Value>>,
    operation: &'a str,
    row_id: &'a str,
    sequence: u64,
    table: &'a str,
    timestamp: i64,
}

/// Short and long ones: statistics keep the first 16 characters.
const WORDS: [&str; 11] = [
    "",
    "plain",
    "größe",
    "日本語",
    "a\"b\\c",
    "line\nbreak",
    "1.5",
    "null",
    "longer than sixteen characters",
    "日本語日本語日本語日本語日本語日本語",
    "\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}",
];

/// Fields that are new or of another type now and then. Some that engines cannot tell from others: by case, from a field
/// of a struct, from the elements of a list.
const DRIFTING: [&str; 9] =
    ["name", "price", "flag", "late_a", "late_b", "place", "Name", "place.city", "tags.element"];

/// A row with scalars, an object and a list, and now and then a field that is new or of another type.
fn make_image(uid: Uid, plan: &Plan, rng: &mut Rng) -> Map<String, Value> {
    let words = WORDS;
    let mut image = Map::new();
    image.insert("uid".to_owned(), json!(uid));
    image.insert("name".to_owned(), json!(rng.at("name").pick(&words)));
    image.insert("big".to_owned(), json!(i64::MAX - rng.at("big").below(9) as i64));
    if rng.at("has flag").below(3) > 0 {
        image.insert("flag".to_owned(), json!(rng.at("flag").one_in(2)));
    }
    if rng.at("has price").below(3) > 0 {
        image.insert("price".to_owned(), json!(rng.at("price").below(1_000) as f64 / 8.0 + 0.125));
    }
    if rng.at("has place").one_in(4) {
        let city = rng.at("city").pick(&words);
        image.insert("place".to_owned(), json!({ "city": city, "zip": rng.at("zip").below(99_999) }));
    }
    if rng.at("has tags").one_in(4) {
        let tags: Vec<&str> = (0..rng.at("tags").below(3)).map(|_| *rng.at("tag").pick(&words)).collect();
        image.insert("tags".to_owned(), json!(tags));
    }
    if rng.at("fat").chance(plan.fat) {
        image.insert("blob".to_owned(), json!("x".repeat(600_000 + rng.at("fat size").below(400_000) as usize)));
    }
    if rng.at("drift").chance(plan.drift) {
        let name = *rng.at("drift of").pick(&DRIFTING);
        let value = match rng.at("drift to").below(5) {
            0 => json!(rng.at("drift value").below(100)),
            1 => json!(rng.at("drift value").pick(&words)),
            2 => json!(rng.at("drift value").below(100) as f64 + 0.5),
            3 => json!({ "deep": { "er": rng.at("drift value").below(7) } }),
            _ => json!(null),
        };
        image.insert(name.to_owned(), value);
    }
    image
}
