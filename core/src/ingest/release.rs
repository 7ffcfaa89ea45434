//! The end of a batch's life in the journal: it is in the lake, and its source is told. And the end of holes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{Outcome, Write};
use crate::context::Context;
use crate::flush::parked::ParkedKey;
use crate::ingest::answers;
use crate::ingest::{Ingest, RELOAD_MS, Reload, Slot, SourceState};
use crate::journal::Family;
use crate::journal::rows::source_key;
use crate::pending::Pending;
use crate::wire::server::{AckStatus, ServerMessage};

/// Closed holes that `/status` names.
const CLOSED_HOLES_SHOWN: usize = 20;

/// Where a flush went, for the marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Persisted {
    /// A data file of it.
    pub(crate) path: Option<String>,
    /// A snapshot of it.
    pub(crate) snapshot_id: Option<i64>,
}

impl Ingest {
    /// The writes that move frontiers and remove the rows of batches; part of the flush's commit.
    /// `parking` is what the commit parks.
    pub(crate) fn release_writes<'a>(
        &self,
        places: &[u64],
        parking: impl Iterator<Item = &'a ParkedKey>,
        cx: &Context<'_>,
    ) -> Vec<Write> {
        let rules = self.rules(cx.config);
        let mut held = self.held.clone();
        held.restore(parking);
        let mut writes = Vec::new();
        for (name, places) in self.by_source(places) {
            let Some(Slot::Ready(state)) = self.sources.get(&name) else {
                panic!("source {name:?} has batches in a flush and is not loaded");
            };
            let row = state.source.saved_after_release(&places, |epoch| held.lowest(&name, epoch), cx.now, &rules);
            if !mutant!(FrontierNotCommitted) {
                writes.push(Write::Put(source_key(&name), row.encode().into()));
            }
        }
        for &place in places.iter().filter(|_| !mutant!(FlushedRowsKept)) {
            let key = &self.buffer.get(place).expect("a flushed batch is in the buffer until released").key;
            writes.extend(Family::Batch.delete(place, key, key.frame_bytes as usize));
        }
        writes
    }

    /// The commit is durable: frontiers move, batches go, marks leave.
    pub(crate) fn release(&mut self, places: &[u64], persisted: &Persisted, cx: &mut Context<'_>) {
        let rules = self.rules(cx.config);
        for (name, places) in self.by_source(places) {
            let events = places
                .iter()
                .filter_map(|place| self.buffer.get(*place))
                .map(|batch| u64::from(batch.key.events))
                .sum();
            if let Some(Slot::Ready(state)) = self.sources.get_mut(&name) {
                let lowest = |epoch: &str| self.held.lowest(&name, epoch);
                let moved = state.source.released(&places, lowest, cx.now, &rules);
                self.send_marks(&name, &moved, events, persisted, cx);
            }
            self.let_go(&name);
        }
        for &place in places {
            self.buffer.remove(place);
        }
    }

    /// Parked events of these sources are in the lake: their marks leave. `events` counts them, by source.
    pub(crate) fn unparked(&mut self, events: &BTreeMap<String, u64>, persisted: &Persisted, cx: &mut Context<'_>) {
        for (name, events) in events {
            if let Some(Slot::Ready(state)) = self.sources.get_mut(name) {
                let moved = state.source.advance_marks(|epoch| self.held.lowest(name, epoch));
                self.send_marks(name, &moved, *events, persisted, cx);
            }
        }
    }

    fn by_source(&self, places: &[u64]) -> BTreeMap<String, Vec<u64>> {
        let mut sources: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for &place in places {
            let key = &self.buffer.get(place).expect("a flushed batch is in the buffer until released").key;
            sources.entry(key.source.clone()).or_default().push(place);
        }
        sources
    }

    /// Tells every connection of a source which marks moved, and where that of its own epoch stands if it was not told:
    /// it may have outlived a life that moved it. Closed holes that a mark passes come first.
    fn send_marks(&mut self, name: &str, moved: &[Arc<str>], events: u64, persisted: &Persisted, cx: &mut Context<'_>) {
        let Some(Slot::Ready(state)) = self.sources.get_mut(name) else { return };
        let SourceState { source, conns, .. } = &mut **state;
        let mut details = answers::details(events, self.buffer.all().bytes, cx);
        details.persisted_path.clone_from(&persisted.path);
        details.snapshot_id = persisted.snapshot_id;
        for (&conn, told) in conns {
            let introduced = self.conns.introduction(conn).filter(|introduction| introduction.source == name);
            let own = introduced.map(|introduction| introduction.epoch.clone());
            let epochs: BTreeSet<&str> = moved.iter().map(|epoch| &**epoch).chain(own.as_deref()).collect();
            for epoch in epochs {
                let former = told.get(epoch).copied();
                let Some(mark) = source.mark(epoch).filter(|mark| former.is_none_or(|former| former < *mark)) else {
                    continue;
                };
                // A hole was named when it closed, but perhaps not to this connection.
                for closed in source.closed_batches(epoch, former.unwrap_or(0), mark) {
                    self.conns.tell(conn, answers::nack_closed(name, epoch, closed, cx), cx.now, cx.out);
                }
                let mut ack = answers::bare_ack(name, epoch, mark, AckStatus::Persisted, cx);
                ack.details = Some(details.clone());
                self.conns.tell(conn, ServerMessage::Ack(ack), cx.now, cx.out);
                told.insert(epoch.to_owned(), mark);
            }
        }
    }

    /// Closed holes are durable: the source's connections are told which batches are not taken any more. If the save
    /// failed, they are told before a mark passes the hole, and the row is written again.
    pub(crate) fn closed_saved(
        &mut self,
        name: &str,
        closed: &[(String, (u64, u64))],
        outcome: &Outcome,
        cx: &mut Context<'_>,
    ) {
        let Some(Slot::Ready(state)) = self.sources.get_mut(name) else { return };
        if *outcome != Outcome::Saved {
            state.source.row_lost();
            self.reloads.push((cx.now.after_ms(RELOAD_MS), Reload::Row(name.to_owned())));
            return;
        }
        for (epoch, batches) in closed {
            for conn in state.conns.keys() {
                self.conns.tell(*conn, answers::nack_closed(name, epoch, *batches, cx), cx.now, cx.out);
            }
        }
    }

    /// Closes holes whose time is up. What waited behind them is ready.
    pub(super) fn close_holes(&mut self, cx: &mut Context<'_>) {
        let rules = self.rules(cx.config);
        let holed: Vec<String> = self.holed.iter().cloned().collect();
        for name in holed {
            let Some(state) = self.state(&name) else { continue };
            let closed = state.source.close_due(cx.now, &rules);
            if closed.is_empty() {
                continue;
            }
            let row = state.source.to_saved(cx.now).encode();
            let batches = closed.iter().filter_map(|hole| Some((hole.epoch.to_string(), hole.gap.batches?))).collect();
            let purpose = Pending::SaveClosed { source: name.clone(), closed: batches };
            cx.save(vec![Write::Put(source_key(&name), row.into())], purpose);
            self.stats.holes_closed += closed.len() as u64;
            for hole in closed {
                self.stats.closed_holes.push(format!(
                    "source {name:?} epoch {:?}: events {} to {} did not come in time",
                    hole.epoch, hole.gap.events.0, hole.gap.events.1
                ));
            }
            let surplus = self.stats.closed_holes.len().saturating_sub(CLOSED_HOLES_SHOWN);
            self.stats.closed_holes.drain(..surplus);
            self.find_ready(&name);
        }
    }
}
