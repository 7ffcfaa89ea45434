//! Whose store is this? Journal and store belong together: both name the lake.
//!
//! A journal without its store, or a store without its journal, would make one lake of two. So nothing is flushed
//! before the store's marker says the journal's name.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::{Class, Command, Condition, Failure, Outcome};
use crate::context::Context;
use crate::flush::breaker::backoff_ms;
use crate::journal::FORMAT_VERSION;
use crate::journal::rows::LakeRow;
use crate::pending::{IdentityOp, Pending};
use crate::seed::Draws;
use crate::time::MachineTime;

/// The marker's key.
const MARKER: &str = "dolake.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Marker {
    format_version: u32,
    lake: Uuid,
}

/// What is known of the store's owner.
#[derive(Debug)]
pub(crate) struct Identity {
    lake: Uuid,
    is_new: bool,
    /// Whether the journal names files in the store. A store that lacks the marker is not theirs then.
    has_tables: bool,
    settled: bool,
    announced: bool,
    failures: u32,
    retry: Option<(MachineTime, IdentityOp)>,
}

impl Identity {
    /// The lake that the journal names; a new one if it names none.
    pub(crate) fn new(lake: Option<Uuid>, has_tables: bool, draws: &mut Draws) -> Identity {
        let is_new = lake.is_none();
        let lake = lake.unwrap_or_else(|| draws.uuid());
        Identity { lake, is_new, has_tables, settled: false, announced: false, failures: 0, retry: None }
    }

    /// Whether journal and store are known to belong together.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Starts finding out.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        self.issue(if self.is_new { IdentityOp::SaveRow } else { IdentityOp::GetMarker }, cx);
    }

    /// When to try again.
    pub(crate) fn deadline(&self) -> Option<MachineTime> {
        self.retry.map(|(due, _)| due)
    }

    /// Tries again when the delay has passed.
    pub(crate) fn retry(&mut self, cx: &mut Context<'_>) {
        if let Some((due, step)) = self.retry
            && due <= cx.now
        {
            self.retry = None;
            self.issue(step, cx);
        }
    }

    fn issue(&mut self, step: IdentityOp, cx: &mut Context<'_>) {
        let purpose = Pending::Identity(step);
        match step {
            IdentityOp::SaveRow => {
                let row = LakeRow { format_version: FORMAT_VERSION, lake: self.lake };
                cx.save(vec![row.write()], purpose);
            }
            IdentityOp::PutMarker => {
                let marker = self.marker().into();
                cx.put(Class::Ingest, MARKER.to_owned(), marker, Condition::IfAbsent, purpose);
            }
            IdentityOp::GetMarker => cx.get(Class::Ingest, MARKER.to_owned(), purpose),
        }
    }

    /// What the store says when it is this lake's.
    fn marker(&self) -> String {
        let marker = Marker { format_version: FORMAT_VERSION, lake: self.lake };
        serde_json::to_string(&marker).expect("plain data always encodes")
    }

    /// A step ended. Returns what that tells of the store, if it was one of the store's.
    pub(crate) fn done(
        &mut self,
        step: IdentityOp,
        outcome: Outcome,
        cx: &mut Context<'_>,
    ) -> Option<Result<(), Failure>> {
        let ended = match step {
            IdentityOp::SaveRow => outcome.of_save().done().map(|()| self.issue(IdentityOp::PutMarker, cx)),
            IdentityOp::PutMarker => outcome.of_put().done().map(|is_there| match is_there {
                false => self.settle(cx),
                true if mutant!(OwnMarkerForeign) => cx.out.push(Command::Halt { reason: "another lake's".to_owned() }),
                // Another lake's marker, or one's own from a put that seemed to fail.
                true => self.issue(IdentityOp::GetMarker, cx),
            }),
            IdentityOp::GetMarker => outcome.of_get().done().map(|found| match found {
                Some(bytes) => self.compare(&bytes, cx),
                None if self.has_tables && !mutant!(UnmarkedStoreClaimed) => self.refuse_unmarked(cx),
                // The life that named the lake ended before it marked the store.
                None => self.issue(IdentityOp::PutMarker, cx),
            }),
        };
        if let Err(failure) = &ended {
            self.later(step, failure, cx);
        }
        match step {
            IdentityOp::SaveRow => None,
            IdentityOp::PutMarker | IdentityOp::GetMarker => Some(ended),
        }
    }

    /// The tables are elsewhere: whoever claimed this store would write files that later lives do not find beside them.
    fn refuse_unmarked(&self, cx: &mut Context<'_>) {
        let reason = format!(
            "the store {} has no marker {MARKER}, and this journal's lake ({}) has tables: expected the store that they were \
             written to. Name that store again; if it is this one and only lost its marker, put {} there as {MARKER}",
            cx.location,
            self.lake,
            self.marker()
        );
        cx.out.push(Command::Halt { reason });
    }

    fn compare(&mut self, bytes: &Bytes, cx: &mut Context<'_>) {
        match serde_json::from_slice::<Marker>(bytes) {
            Ok(marker) if marker.lake == self.lake => self.settle(cx),
            Ok(marker) => {
                let reason = format!(
                    "the store belongs to another lake ({}; this journal is of {}): give that store its own journal, or this journal its own store",
                    marker.lake, self.lake
                );
                cx.out.push(Command::Halt { reason });
            }
            Err(error) => {
                let reason =
                    format!("the store's marker {MARKER} cannot be read ({error}): restore it, or use another store");
                cx.out.push(Command::Halt { reason });
            }
        }
    }

    fn later(&mut self, step: IdentityOp, failure: &Failure, cx: &mut Context<'_>) {
        self.failures += 1;
        let delay_ms = backoff_ms(self.failures, failure.retry_after_ms, cx.config, cx.draws);
        self.retry = Some((cx.now.after_ms(delay_ms), step));
        // Events can be taken while the store is away; the journal holds them.
        self.announce(cx);
    }

    fn settle(&mut self, cx: &mut Context<'_>) {
        self.settled = true;
        self.announce(cx);
    }

    fn announce(&mut self, cx: &mut Context<'_>) {
        if !self.announced {
            self.announced = true;
            cx.out.push(Command::Ready);
        }
    }
}
