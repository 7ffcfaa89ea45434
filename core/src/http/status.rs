//! The bodies of the operations endpoints, as data. The machine fills them in; nothing here computes.
//!
//! Shapes that the WebSocket has too are the wire's ([`crate::wire::server`]); the answer to POST `/flush` is its
//! [`FlushResult`](crate::wire::server::FlushResult). Times are milliseconds since the Unix epoch, counts and sizes are
//! whole numbers, all names camel case.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::wire::server::{BufferStats, CircuitBreakerState, FlushResult, LakeState};

/// GET `/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer {
    /// What DoLake does.
    pub state: LakeState,
    /// What the operator should mend, in sentences; absent when there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What is not flushed yet.
    pub buffer: BufferStats,
    /// Sources with at least one connection.
    pub connected_sources: u64,
    /// The sources that were heard of in this life, by name and epoch.
    pub source_states: Vec<SourceState>,
    /// What telling duplicates apart has found.
    pub dedup_stats: DedupStats,
    /// The tables, by name.
    pub tables: Vec<TableState>,
    /// Tables whose writes fail while others succeed; absent when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked_tables: Vec<ParkedTable>,
    /// Whether the store is tried.
    pub circuit_breaker: CircuitBreakerState,
    /// The last flush that ended; null before the first.
    pub last_flush: Option<LastFlush>,
    /// When the next is due; null when nothing is buffered.
    pub next_flush_time: Option<i64>,
    /// How much is asked of DoLake.
    pub load_level: LoadLevel,
    /// DoLake's version.
    pub version: String,
}

/// How much is asked of DoLake, by the utilization of its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadLevel {
    /// Below the backpressure threshold.
    Normal,
    /// Above it: acks suggest a delay.
    High,
    /// Batches are refused.
    Shedding,
}

/// A source and one of its epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceState {
    /// `sourceDoId`.
    pub id: String,
    /// `sourceEpoch`; may be empty.
    pub source_epoch: String,
    /// A name for people; null when it gave none.
    pub source_shard_name: Option<String>,
    /// Connections that are open.
    pub connections: u64,
    /// The highest batch number that was accepted.
    pub last_received_sequence: u64,
    /// The highest batch number up to which all is in the lake.
    pub last_persisted_sequence: u64,
    /// Event numbers that were left out, open ones and closed ones.
    pub holes: Vec<HoleState>,
    /// When the oldest open connection came; null when there is none.
    pub connected_at: Option<i64>,
    /// When it was last heard of.
    pub last_activity_at: Option<i64>,
    /// Batches that were accepted in this life.
    pub batches: u64,
    /// Events that were accepted in this life.
    pub events: u64,
}

/// Event numbers that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoleState {
    /// The first of them.
    pub first_event_sequence: u64,
    /// The last of them.
    pub last_event_sequence: u64,
    /// Whether it was given up: its events are refused now. An open one is still waited for.
    pub closed: bool,
}

/// What telling duplicates apart has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DedupStats {
    /// Batches that were looked up.
    pub total_checks: u64,
    /// Those that were there already.
    pub duplicates_found: u64,
    /// Batches whose hash is kept.
    pub entries_tracked: u64,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableState {
    /// `shop.orders`, as in the catalog.
    pub name: String,
    /// `changelog`, `mirror` or `both`.
    pub mode: String,
    /// The current snapshot; null before the first.
    pub snapshot_id: Option<i64>,
    /// Rows of it.
    pub rows: u64,
    /// Data files of it.
    pub files: u64,
    /// Events that are journaled but not in it: those that are parked, and those of batches held in memory.
    pub pending_events: u64,
    /// Age of the oldest of them in milliseconds; 0 when there is none.
    pub freshness_ms: u64,
}

/// A table that is held back because it could not be written. Its events are safe in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedTable {
    /// As events spell it: it may not be in the catalog yet.
    pub table: String,
    /// Its events that wait.
    pub events: u64,
    /// What they count against `maxParkedBytes`.
    pub bytes: u64,
    /// Tries that failed.
    pub failed_tries: u64,
    /// When it is tried again.
    pub next_try_time: i64,
}

/// A flush that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFlush {
    /// When it ended.
    pub time: i64,
    /// What became of it.
    #[serde(flatten)]
    pub result: FlushResult,
}

/// POST `/cdc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdcAnswer {
    /// Whether all of it is durable.
    pub success: bool,
    /// Events of the request.
    pub events_received: u64,
    /// Those that are new.
    pub events_accepted: u64,
    /// Those that were there already.
    pub duplicates: u64,
    /// Those that no table could take and that were put aside.
    pub dead_letters: u64,
}

/// GET `/v1/wait`, once what was waited for is persisted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitAnswer {
    /// Always true; a wait that gave up is an error (504, `timed_out`).
    pub persisted: bool,
    /// How long it took, in milliseconds.
    pub waited_ms: u64,
}

/// GET `/v1/memory-stats`, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// Memory in use, as far as the machine counts it.
    pub heap_used: u64,
    /// Memory that may be in use.
    pub heap_total: u64,
    /// Memory of running commands: what the host works on.
    pub external: u64,
    /// Buffered batches that are held in memory.
    pub buffer_bytes: u64,
    /// `memoryBudgetBytes`.
    pub budget_bytes: u64,
    /// The most that was ever in use in this life.
    pub peak_bytes: u64,
}

/// GET `/v1/write-stats`: what was written in this life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteStats {
    /// Data files.
    pub files_written: u64,
    /// Rows of them.
    pub rows_written: u64,
    /// Bytes of them.
    pub bytes_written: u64,
    /// Bytes of the events' JSON over bytes of data files; 0 before the first.
    pub compression_ratio: f64,
    /// Row groups of them.
    pub row_groups: u64,
    /// Time spent encoding, in milliseconds.
    pub encode_ms: u64,
    /// Time spent waiting for the store, in milliseconds.
    pub upload_ms: u64,
    /// Partitions whose writes are held back.
    pub throttled_partitions: Vec<String>,
    /// Whether there are any.
    pub throttling_active: bool,
    /// By table, in order of their names.
    pub per_table: Vec<TableWriteStats>,
}

/// What was written for one table in this life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableWriteStats {
    /// `shop.orders`, as in the catalog.
    pub table: String,
    /// Data files.
    pub files_written: u64,
    /// Rows of them.
    pub rows_written: u64,
    /// Bytes of them.
    pub bytes_written: u64,
    /// Row groups of them.
    pub row_groups: u64,
}

/// PATCH `/v1/config`, once it is in effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsAnswer {
    /// Always true; what cannot be is an error.
    pub success: bool,
    /// The whole config that is in effect now.
    pub config: Config,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(value: &impl Serialize, expected: &Value) {
        assert_eq!(&serde_json::to_value(value).expect("JSON"), expected);
    }

    #[test]
    fn a_status_has_the_documented_shape() {
        let status = StatusAnswer {
            state: LakeState::Receiving,
            warnings: vec!["mend this".to_owned()],
            buffer: BufferStats { batch_count: 1, event_count: 2, total_size_bytes: 3, ..BufferStats::default() },
            connected_sources: 1,
            source_states: vec![SourceState {
                id: "s1".to_owned(),
                source_epoch: String::new(),
                source_shard_name: None,
                connections: 1,
                last_received_sequence: 9,
                last_persisted_sequence: 8,
                holes: vec![HoleState { first_event_sequence: 4, last_event_sequence: 5, closed: false }],
                connected_at: Some(10),
                last_activity_at: Some(11),
                batches: 3,
                events: 30,
            }],
            dedup_stats: DedupStats { total_checks: 3, duplicates_found: 1, entries_tracked: 2 },
            tables: vec![TableState {
                name: "default.users".to_owned(),
                mode: "changelog".to_owned(),
                snapshot_id: Some(77),
                rows: 5,
                files: 1,
                pending_events: 2,
                freshness_ms: 12,
            }],
            parked_tables: vec![ParkedTable {
                table: "users".to_owned(),
                events: 2,
                bytes: 900,
                failed_tries: 1,
                next_try_time: 13,
            }],
            circuit_breaker: CircuitBreakerState::HalfOpen,
            last_flush: Some(LastFlush { time: 12, result: FlushResult { success: true, ..FlushResult::default() } }),
            next_flush_time: None,
            load_level: LoadLevel::Normal,
            version: "0.1.0".to_owned(),
        };
        let expected = json!({
            "state": "receiving",
            "warnings": ["mend this"],
            "buffer": { "batchCount": 1, "eventCount": 2, "totalSizeBytes": 3, "utilization": 0.0 },
            "connectedSources": 1,
            "sourceStates": [{
                "id": "s1", "sourceEpoch": "", "sourceShardName": null, "connections": 1, "lastReceivedSequence": 9,
                "lastPersistedSequence": 8, "connectedAt": 10, "lastActivityAt": 11, "batches": 3, "events": 30,
                "holes": [{ "firstEventSequence": 4, "lastEventSequence": 5, "closed": false }],
            }],
            "dedupStats": { "totalChecks": 3, "duplicatesFound": 1, "entriesTracked": 2 },
            "tables": [{
                "name": "default.users", "mode": "changelog", "snapshotId": 77, "rows": 5, "files": 1,
                "pendingEvents": 2, "freshnessMs": 12,
            }],
            "parkedTables": [{
                "table": "users", "events": 2, "bytes": 900, "failedTries": 1, "nextTryTime": 13,
            }],
            "circuitBreaker": "half-open",
            "lastFlush": {
                "time": 12, "success": true, "batchesFlushed": 0, "eventsFlushed": 0, "bytesWritten": 0, "paths": [],
                "durationMs": 0, "usedFallback": false, "snapshots": [],
            },
            "nextFlushTime": null,
            "loadLevel": "normal",
            "version": "0.1.0",
        });
        check(&status, &expected);
    }

    #[test]
    fn the_other_answers_have_their_documented_shapes() {
        check(
            &CdcAnswer { success: true, events_received: 3, events_accepted: 2, duplicates: 1, dead_letters: 0 },
            &json!({"success": true, "eventsReceived": 3, "eventsAccepted": 2, "duplicates": 1, "deadLetters": 0}),
        );
        check(
            &MemoryStats::default(),
            &json!({"heapUsed": 0, "heapTotal": 0, "external": 0, "bufferBytes": 0, "budgetBytes": 0, "peakBytes": 0}),
        );
        let per_table = vec![TableWriteStats { table: "default.t".to_owned(), ..TableWriteStats::default() }];
        check(
            &WriteStats { per_table, ..WriteStats::default() },
            &json!({
                "filesWritten": 0, "rowsWritten": 0, "bytesWritten": 0, "compressionRatio": 0.0, "rowGroups": 0,
                "encodeMs": 0, "uploadMs": 0, "throttledPartitions": [], "throttlingActive": false,
                "perTable": [{
                    "table": "default.t", "filesWritten": 0, "rowsWritten": 0, "bytesWritten": 0, "rowGroups": 0,
                }],
            }),
        );
        check(&WaitAnswer { persisted: true, waited_ms: 4 }, &json!({"persisted": true, "waitedMs": 4}));
        let settings = SettingsAnswer { success: true, config: Config::default() };
        let written = serde_json::to_value(settings).expect("JSON");
        assert_eq!((&written["success"], &written["config"]["flushIntervalMs"]), (&json!(true), &json!(30_000)));
    }
}
