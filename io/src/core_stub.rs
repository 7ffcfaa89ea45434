#![allow(missing_docs)]
use bytes::Bytes;
use dolake_core::*;
pub struct Saved {
    pub control: Vec<(Bytes, Bytes)>,
    pub batch_keys: Vec<Bytes>,
}
pub struct Deadline {
    pub after_ms: u64,
    pub why: &'static str,
}
#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct RestoreError;
#[derive(Debug)]
pub struct Lake {
    n: u64,
}
pub const CONTROL_RANGE: (&[u8], &[u8]) = (b"a", b"b");
pub const BATCH_RANGE: (&[u8], &[u8]) = (b"b", b"c");
impl Lake {
    pub fn restore(_c: Config, _l: String, _s: Seed, _n: Timestamp, _saved: Saved) -> Result<Lake, RestoreError> {
        Ok(Lake { n: 0 })
    }
    pub fn deadline(&self) -> Option<Deadline> {
        None
    }
    pub fn step(&mut self, _now: Timestamp, event: Event, out: &mut Commands) {
        match event {
            Event::Received { conn, frame } => {
                self.n += 1;
                let (event::Frame::Text(b) | event::Frame::Binary(b)) = frame;
                if &b[..] == b"close" {
                    out.push(Command::Close { conn, code: 1008, reason: "you said so".into() });
                    return;
                }
                out.push(Command::Save {
                    op: Op { life: conn.0, n: self.n },
                    writes: vec![command::Write::Put(Bytes::from(format!("b{:09}", self.n)), b)],
                });
            }
            Event::Done { op, outcome } => {
                out.push(Command::Send {
                    conn: event::ConnId(op.life),
                    frame: Bytes::from(format!("{{\"n\":{},\"o\":\"{outcome:?}\"}}", op.n)),
                });
            }
            Event::Requested { call, head } if head.method == "GET" => out.push(Command::Respond {
                call,
                head: command::ResponseHead {
                    status: 200,
                    headers: vec![("content-type".into(), "text/plain".into())],
                },
                body: Bytes::from(format!("{head:?}")),
            }),
            Event::Requested { call, .. } => out.push(Command::ReadMore { call }),
            Event::BodyChunk { call, last, .. } => {
                if last {
                    out.push(Command::Respond {
                        call,
                        head: command::ResponseHead { status: 201, headers: vec![] },
                        body: Bytes::new(),
                    })
                } else {
                    out.push(Command::ReadMore { call })
                }
            }
            Event::Shutdown => out.push(Command::Stopped),
            e => eprintln!("{e:?}"),
        }
    }
}
pub trait RunJob {
    fn run(self) -> dolake_core::table::job::JobOutput;
}
impl RunJob for Box<dolake_core::table::job::Job> {
    fn run(self) -> dolake_core::table::job::JobOutput {
        unimplemented!()
    }
}
