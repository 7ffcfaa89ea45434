//! Writes down what the Durable Object's host does natively, call by call, so that the built WebAssembly module can be held
//! against it in workerd (`tests/workers/replay.test.mjs`).
//!
//! What comes from outside is what a run of the simulator brought to the machine: its sources' messages, damaged ones
//! among them, its requests, its sockets, each life's settings, seed and clock. What the machine asks for is answered here
//! ([`outside`]): the host decides itself in which order its commands go out, so the simulator's results would not fit.
//!
//! ```console
//! $ dolake-trace 7 > seed-7.jsonl
//! ```
//!
//! One line is one call: what was called, and every call that the host made of the shell because of it, bytes in
//! hexadecimal digits.

mod outside;

use std::io::{BufWriter, Write};

use bytes::Bytes;
use dolake_core::event::{CallId, Frame, RequestHead};
use dolake_core::journal::{BATCH_RANGE, CONTROL_RANGE};
use dolake_core::{Event, Timestamp};
use dolake_sim::plan::Plan;
use dolake_sim::record::{Life, Recorder};
use dolake_sim::run::run_plan;
use dolake_workers_host::host::{Host, SaveEnd, StoreEnd};
use dolake_workers_host::{open, rows};
use serde_json::{Value, json};

use outside::{Outside, Ready, hex};

/// Calls that a life may take to come to rest when nothing more comes from outside.
const REST_CALLS_MAX: usize = 20_000;

/// The number of the request that the last life ends with: above all of the simulator's.
const LAST_CALL: CallId = CallId(1 << 40);

fn main() -> std::io::Result<()> {
    let seed = std::env::args().nth(1).and_then(|given| given.parse().ok()).unwrap_or_else(|| {
        eprintln!("usage: dolake-trace SEED");
        std::process::exit(2)
    });
    let lives = run_plan(seed, Plan::of(seed), false, Recorder::keeping()).record.lives;
    let outside = Outside::new(seed);
    let compress = seed % 2 == 1;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (index, life) in lives.iter().enumerate() {
        let mut told = Told::begin(life, &outside, compress, &mut out)?;
        for (now, event, _) in &life.steps {
            told.sleep_until(*now)?;
            told.deliver(*now, event)?;
            told.answer_some()?;
        }
        if index + 1 == lives.len() {
            outside.heal();
            told.flush_all()?;
        }
        outside.die();
    }
    out.flush()
}

/// A host whose calls are written down.
struct Told<'a, W> {
    host: Host<Outside>,
    outside: Outside,
    now: Timestamp,
    out: &'a mut W,
}

impl<'a, W: Write> Told<'a, W> {
    fn begin(life: &Life, outside: &Outside, compress: bool, out: &'a mut W) -> std::io::Result<Told<'a, W>> {
        let config = serde_json::to_string(&life.config)?;
        let (control, batches) = (outside.journal(CONTROL_RANGE, false), outside.journal(BATCH_RANGE, true));
        let call = json!([
            "begin",
            life.began.0,
            compress,
            hex(&life.seed.0.to_le_bytes()),
            config,
            outside::listed(&control),
            outside::listed(&batches),
        ]);
        let read = |entries| rows::decode(outside::encoded(entries)).expect("our own journal");
        let saved = open::saved(read(&control), read(&batches));
        let lake = open::open(config.as_bytes(), saved, life.seed, life.began).expect("the simulator's settings");
        let host = Host::new(lake, outside.clone(), compress);
        let mut told = Told { host, outside: outside.clone(), now: life.began, out };
        told.write(&call)?;
        Ok(told)
    }

    /// Writes a call with what the host did because of it.
    fn write(&mut self, call: &Value) -> std::io::Result<()> {
        let hands = self.outside.said();
        let deadline = self.host.deadline_ms();
        writeln!(self.out, "{}", json!({"call": call, "hands": hands, "deadline": deadline}))
    }

    /// Wakes the machine as often as it wants before a moment.
    fn sleep_until(&mut self, until: Timestamp) -> std::io::Result<()> {
        for _ in 0..20 {
            let Some(due) = self.due().filter(|due| *due <= until) else { break };
            self.wake(due)?;
            self.answer_some()?;
        }
        Ok(())
    }

    fn due(&self) -> Option<Timestamp> {
        let after = i64::try_from(self.host.deadline_ms()?).unwrap_or(i64::MAX);
        Some(Timestamp(self.now.0.saturating_add(after)))
    }

    fn wake(&mut self, now: Timestamp) -> std::io::Result<()> {
        self.now = now;
        self.host.wake(now);
        self.write(&json!(["wake", now.0]))
    }

    /// What the simulator brought; what the machine asked for itself is answered elsewhere.
    fn deliver(&mut self, now: Timestamp, event: &Event) -> std::io::Result<()> {
        self.now = now;
        let call = match event.clone() {
            Event::Opened { conn, peer, attachment } => {
                let call = json!(["opened", now.0, conn, peer, attachment.as_deref().map(hex)]);
                self.host.opened(now, conn, peer, attachment);
                call
            }
            Event::Received { conn, frame } => {
                let call = match &frame {
                    Frame::Text(bytes) => match std::str::from_utf8(bytes) {
                        Ok(text) => json!(["received", now.0, conn, "text", text]),
                        // No runtime of JavaScript hands such a message on.
                        Err(_) => return Ok(()),
                    },
                    Frame::Binary(bytes) => json!(["received", now.0, conn, "binary", hex(bytes)]),
                };
                self.host.received(now, conn, frame);
                call
            }
            Event::Closed { conn } => {
                self.host.closed(now, conn);
                json!(["closed", now.0, conn])
            }
            Event::Requested { call, head } => return self.request(call, head),
            Event::BodyChunk { call, bytes, last } => return self.body(call, bytes, last),
            Event::CallGone { call } => {
                self.host.call_gone(now, call);
                json!(["callGone", now.0, call])
            }
            // The host reports what went out when something comes in; and it is never told to stop.
            Event::Sent { .. } | Event::Wake | Event::Shutdown | Event::Done { .. } => return Ok(()),
        };
        self.write(&call)
    }

    fn request(&mut self, call: CallId, head: RequestHead) -> std::io::Result<()> {
        let line = json!(["requested", self.now.0, call, head]);
        self.host.requested(self.now, call, head);
        self.write(&line)
    }

    fn body(&mut self, call: CallId, bytes: Bytes, last: bool) -> std::io::Result<()> {
        let line = json!(["body", self.now.0, call, hex(&bytes), last]);
        self.host.body(self.now, call, bytes, last);
        self.write(&line)
    }

    fn work(&mut self) -> std::io::Result<()> {
        self.host.work(self.now);
        self.write(&json!(["work", self.now.0]))
    }

    /// Chance decides what of all that the host waits for is there.
    fn answer_some(&mut self) -> std::io::Result<()> {
        while self.outside.goes_on() {
            if self.host.has_work() {
                self.work()?;
            } else if let Some(ready) = self.outside.next_ready() {
                self.end(ready)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn end(&mut self, ready: Ready) -> std::io::Result<()> {
        let now = self.now;
        let line = match ready {
            Ready::Saved(number, end, message) => {
                let how = match end {
                    SaveEnd::Durable => 0,
                    SaveEnd::RolledBack => 1,
                    SaveEnd::Unknown => 2,
                };
                self.host.saved(now, number, end, message);
                json!(["saved", now.0, number, how, message])
            }
            Ready::Loaded(number, entries) => {
                let call = json!(["loaded", now.0, number, outside::listed(&entries)]);
                self.host.loaded(now, number, Ok(outside::encoded(&entries)));
                call
            }
            Ready::Stored(number, end) => {
                let (how, bytes) = match &end {
                    StoreEnd::Done => (0, String::new()),
                    StoreEnd::Got(bytes) => (1, hex(bytes)),
                    StoreEnd::Absent => (2, String::new()),
                    StoreEnd::Conflict => (3, String::new()),
                    StoreEnd::Failed(message) => (4, hex(message.as_bytes())),
                };
                self.host.stored(now, number, end);
                json!(["stored", now.0, number, how, bytes])
            }
        };
        self.write(&line)
    }

    /// Asks for a flush, and goes on until the machine has nothing to do.
    fn flush_all(&mut self) -> std::io::Result<()> {
        let head =
            RequestHead { method: "POST".to_owned(), path: "/flush".to_owned(), query: None, headers: Vec::new() };
        self.request(LAST_CALL, head)?;
        self.body(LAST_CALL, Bytes::new(), true)?;
        for _ in 0..REST_CALLS_MAX {
            if self.host.has_work() {
                self.work()?;
            } else if let Some(ready) = self.outside.next_ready() {
                self.end(ready)?;
            } else if let Some(due) = self.due() {
                self.wake(due)?;
            } else {
                return Ok(());
            }
        }
        panic!("the machine does not come to rest");
    }
}
