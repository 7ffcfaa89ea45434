//! What the machine tells of itself: health, status, metrics. Looks at state, changes nothing.

use std::collections::BTreeMap;

use crate::calls::View;
use crate::context::Context;
use crate::flush::breaker::BreakerState;
use crate::http::error::{ErrorKind, HttpError};
use crate::http::metrics::{Metric, MetricKind, MetricValue};
use crate::http::respond::Answer;
use crate::http::status::{
    DedupStats, HoleState, LastFlush, LoadLevel, ParkedTable, SourceState, StatusAnswer, TableState,
};
use crate::wire::server::{CircuitBreakerState, FlushResult};

/// GET `/health`.
pub(crate) fn health(view: &View<'_>, cx: &Context<'_>) -> Answer {
    let full = view.ingest.buffer.all().bytes >= crate::ingest::answers::capacity(cx);
    let why = match (view.stopping, full) {
        (true, _) => "DoLake is stopping".to_owned(),
        (_, true) => format!("the buffer is full: {} bytes wait for the store", view.ingest.buffer.all().bytes),
        (false, false) => return Answer::text(200, "OK"),
    };
    HttpError::new(ErrorKind::Unavailable, why).retry_after_ms(1_000).answer()
}

/// GET `/status`.
pub(crate) fn status(view: &View<'_>, cx: &Context<'_>) -> StatusAnswer {
    let message = view.ingest.status(cx);
    let stats = &view.ingest.stats;
    let tracked = view.ingest.states().map(|(_, state)| state.source.heads().count() as u64).sum();
    StatusAnswer {
        state: message.state,
        warnings: view.warnings.to_vec(),
        buffer: message.buffer,
        connected_sources: message.connected_sources,
        source_states: sources(view),
        dedup_stats: DedupStats {
            total_checks: stats.checks,
            duplicates_found: stats.duplicates,
            entries_tracked: tracked,
        },
        tables: tables(view, cx),
        parked_tables: parked(view, cx),
        circuit_breaker: match cx.store.breaker {
            BreakerState::Closed => CircuitBreakerState::Closed,
            BreakerState::Open => CircuitBreakerState::Open,
            BreakerState::HalfOpen => CircuitBreakerState::HalfOpen,
        },
        last_flush: view.flusher.stats.last.as_ref().map(|last| LastFlush {
            time: last.ended_ms,
            result: FlushResult {
                success: true,
                batches_flushed: last.batches,
                events_flushed: last.events,
                bytes_written: last.bytes,
                paths: last.paths.clone(),
                duration_ms: last.duration_ms,
                used_fallback: false,
                snapshots: last.snapshots.clone(),
                error: None,
            },
        }),
        next_flush_time: message.next_flush_time,
        load_level: if cx.store.failing { LoadLevel::High } else { LoadLevel::Normal },
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn sources(view: &View<'_>) -> Vec<SourceState> {
    let describe = |(name, state): (&String, &crate::ingest::SourceState)| {
        let epoch = state.source.epochs().last().unwrap_or_default().to_owned();
        let holes = state.source.holes().into_iter().map(|hole| HoleState {
            first_event_sequence: hole.gap.events.0,
            last_event_sequence: hole.gap.events.1,
            closed: false,
        });
        SourceState {
            id: name.clone(),
            source_shard_name: state.shard_name.clone(),
            connections: state.conns.len() as u64,
            last_received_sequence: state.last_received,
            last_persisted_sequence: state.source.mark(&epoch).unwrap_or(0),
            holes: holes.collect(),
            connected_at: state.connected_at_ms,
            last_activity_at: Some(state.last_activity_ms),
            batches: state.batches,
            events: state.events,
            source_epoch: epoch,
        }
    };
    view.ingest.states().map(describe).collect()
}

fn tables(view: &View<'_>, cx: &Context<'_>) -> Vec<TableState> {
    let figures = &view.tables.figures;
    let pending = pending(view);
    let describe = |(ident, pointer): (&crate::catalog::TableIdent, &crate::catalog::TablePointer)| {
        let cdc_table = pointer.cdc_table.as_deref().unwrap_or_default();
        let figures = figures.get(ident).cloned().unwrap_or_default();
        TableState {
            name: ident.to_string(),
            mode: "changelog".to_owned(),
            snapshot_id: Some(figures.snapshot_id),
            rows: figures.rows,
            files: figures.files,
            pending_events: pending.get(cdc_table).copied().unwrap_or(0),
            freshness_ms: u64::try_from(cx.wall.0.saturating_sub(figures.newest_event_ms)).unwrap_or(0),
        }
    };
    view.tables.pointers.iter().map(describe).collect()
}

/// Events that are not in the lake, by table as events spell it.
fn pending<'a>(view: &'a View<'_>) -> BTreeMap<&'a str, u64> {
    let mut pending: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, table) in view.flusher.parked.tables() {
        *pending.entry(name).or_default() += table.events;
    }
    for (table, events) in view.ingest.buffer.hot_events() {
        *pending.entry(table).or_default() += events;
    }
    pending
}

fn parked(view: &View<'_>, cx: &Context<'_>) -> Vec<ParkedTable> {
    let describe = |(name, table): (&str, &crate::flush::parked::ParkedTable)| ParkedTable {
        table: name.to_owned(),
        events: table.events,
        bytes: table.bytes,
        failed_tries: u64::from(table.failures),
        next_try_time: cx.wall.0.saturating_add(i64::try_from(table.retry_at.since_ms(cx.now)).unwrap_or(i64::MAX)),
    };
    view.flusher.parked.tables().map(describe).collect()
}

/// GET `/metrics`.
pub(crate) fn metrics(view: &View<'_>) -> Vec<Metric> {
    let ingest = &view.ingest.stats;
    let flush = &view.flusher.stats;
    let all = view.ingest.buffer.all();
    let parked = view.flusher.parked.tables().fold((0, 0, 0), |(tables, events, bytes), (_, table)| {
        (tables + 1, events + table.events, bytes + table.bytes)
    });
    let counter = Metric::counter;
    let gauge = |name, help, value| Metric::gauge(name, help, MetricValue::Integer(value));
    let mut nacks = Metric::new(MetricKind::Counter, "dolake_nacks_total", "Refused messages, by reason.");
    for (reason, count) in &ingest.nacks {
        nacks = nacks.with(&[("reason", reason)], MetricValue::Integer(*count));
    }
    let breaker = match view.flusher.breaker.state() {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    };
    let source_counters: BTreeMap<&str, u64> = view.ingest.states().fold(BTreeMap::new(), |mut sums, (_, state)| {
        *sums.entry("unverified").or_default() += state.source.counters().unverified;
        *sums.entry("closed").or_default() += state.source.counters().refused_closed;
        sums
    });
    let of = |key: &str| source_counters.get(key).copied().unwrap_or(0);
    vec![
        counter("dolake_messages_total", "WebSocket messages received.", ingest.messages),
        counter("dolake_batches_accepted_total", "Batches made durable.", ingest.batches_accepted),
        counter("dolake_events_accepted_total", "Events made durable.", ingest.events_accepted),
        counter("dolake_duplicate_batches_total", "Batches that were accepted before.", ingest.duplicates),
        counter("dolake_repeated_events_total", "Events that were accepted before, in new batches.", ingest.repeats),
        gauge(
            "dolake_unverified_duplicates",
            "Duplicates too old to be compared, of sources in memory.",
            of("unverified"),
        ),
        gauge(
            "dolake_refused_closed",
            "Batches refused because their hole was closed, of sources in memory.",
            of("closed"),
        ),
        counter("dolake_acks_total", "Batches acknowledged.", ingest.acks),
        nacks,
        counter("dolake_sequence_holes_closed_total", "Holes that timed out.", ingest.holes_closed),
        counter("dolake_source_ahead_total", "Sources that claimed more acks than DoLake gave.", ingest.source_ahead),
        gauge("dolake_buffered_batches", "Batches in the journal, not yet in the lake.", all.batches),
        gauge("dolake_buffered_events", "Events in the journal, not yet in the lake.", all.events),
        gauge("dolake_buffered_bytes", "Bytes in the journal, not yet in the lake.", all.bytes),
        gauge("dolake_parked_tables", "Tables that are held back because their writes fail.", parked.0),
        gauge("dolake_parked_events", "Events of parked tables in the journal.", parked.1),
        gauge("dolake_parked_bytes", "Bytes of parked tables in the journal.", parked.2),
        gauge("dolake_hot_bytes", "Memory of buffered batches.", view.ingest.buffer.hot_bytes()),
        gauge("dolake_connections", "Open WebSockets.", view.ingest.conns.ids().count() as u64),
        counter("dolake_flushes_total", "Flushes committed.", flush.flushes),
        counter("dolake_flushed_batches_total", "Batches committed.", flush.batches),
        counter("dolake_flushed_events_total", "Events committed.", flush.events),
        counter("dolake_files_written_total", "Data files committed.", flush.files),
        counter("dolake_rows_written_total", "Rows committed.", flush.rows),
        counter("dolake_files_written_bytes_total", "Bytes of data files committed.", flush.file_bytes),
        counter("dolake_flushed_bytes_total", "Bytes of messages committed.", flush.raw_bytes),
        counter("dolake_rescued_values_total", "Values kept in _cdc_rescued.", flush.rescued_values),
        counter("dolake_store_failures_total", "Store commands that failed.", flush.store_failures),
        gauge("dolake_circuit_breaker", "0 closed, 1 half-open, 2 open.", breaker),
        gauge("dolake_tables", "Tables in the catalog.", view.tables.pointers.len() as u64),
    ]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use crate::command::Command;
    use crate::event::{CallId, Event, RequestHead};
    use crate::journal::Saved;
    use crate::{Commands, Config, Lake, Seed, Timestamp};

    fn status(mut lake: Lake) -> Value {
        let head =
            RequestHead { method: "GET".to_owned(), path: "/status".to_owned(), query: None, headers: Vec::new() };
        let mut commands = Commands::new();
        lake.step(Timestamp(0), Event::Requested { call: CallId(1), head }, &mut commands);
        let mut answers = commands.iter().filter_map(|command| {
            let Command::Respond { body, .. } = command else { return None };
            Some(body)
        });
        serde_json::from_slice(answers.next().expect("an answer")).expect("JSON")
    }

    #[test]
    fn what_the_host_warns_of_is_in_the_status() {
        let lake = || {
            let restored =
                Lake::restore(Config::default(), "mem://lake".to_owned(), Seed(1), Timestamp(0), Saved::default());
            restored.expect("an empty journal")
        };
        assert_eq!(status(lake()).get("warnings"), None);
        let warned = lake().warning(["mend this".to_owned()]).warning(["and that".to_owned()]);
        assert_eq!(status(warned)["warnings"], json!(["mend this", "and that"]));
    }

    #[test]
    fn changed_settings_that_no_longer_fit_are_left_out_and_warned_of() {
        let config = Config { max_retry_delay_ms: 5_000, ..Config::default() };
        for (changes, expected) in [
            (
                r#"{"baseRetryDelayMs":9000,"flushIntervalMs":1}"#,
                "are left out (maxRetryDelayMs: expected at least baseRetryDelayMs",
            ),
            ("{", "are left out (body: expected a JSON object"),
        ] {
            let row = (Bytes::from_static(b"c/settings"), Bytes::from(changes));
            let saved = Saved { control: vec![row], ..Saved::default() };
            let lake = Lake::restore(config.clone(), "mem://lake".to_owned(), Seed(1), Timestamp(0), saved);
            let status = status(lake.expect("restored"));
            let warning = status["warnings"][0].as_str().expect("a warning");
            assert!(warning.contains(expected) && warning.contains("PATCH /v1/config"), "{warning}");
        }
    }
}
