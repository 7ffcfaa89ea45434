//! What an operator can set. Names and defaults are the seed's; ours stand beside them.

use serde::{Deserialize, Serialize};

/// Parquet compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Plain bytes.
    None,
    /// Fast, light. The default.
    #[default]
    Snappy,
    /// Widest support.
    Gzip,
    /// Smallest.
    Zstd,
}

/// All settings. As JSON: camel case, unknown keys refused, absent ones take their default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Name of the bucket, for hosts whose binding does not tell it.
    pub r2_bucket_name: String,
    /// Where the tables lie, below the store's root.
    pub r2_base_path: String,
    /// Events that are buffered before a flush.
    pub flush_threshold_events: u64,
    /// Bytes that are buffered before a flush; also what one flush takes at most.
    pub flush_threshold_bytes: u64,
    /// Age of the oldest buffered event before a flush, in milliseconds.
    pub flush_threshold_ms: u64,
    /// Time between scheduled flushes, in milliseconds.
    pub flush_interval_ms: u64,
    /// Unflushed bytes that the journal holds at most.
    pub max_buffer_size: u64,
    /// Whether the journal may take `maxFallbackSize` more while the store fails.
    pub enable_fallback: bool,
    /// What may come on top of `maxBufferSize` while the store fails, in bytes.
    pub max_fallback_size: u64,
    /// Whether batches are compared with those that came before.
    pub enable_deduplication: bool,
    /// How long a batch's hash is kept, and how long a hole may stay open, in milliseconds.
    pub deduplication_window_ms: u64,
    /// Rows of a Parquet row group.
    pub parquet_row_group_size: u64,
    /// Bytes of raw JSON after which a row group is sealed, whatever its rows.
    pub parquet_row_group_bytes: u64,
    /// Parquet compression.
    pub parquet_compression: Compression,
    /// Size at which a data file is finished and another begun, in bytes.
    pub target_file_size_bytes: u64,
    /// Largest WebSocket message or request body with events, in bytes.
    pub max_payload_size: u64,
    /// Largest single event, in bytes.
    pub max_event_size: u64,
    /// Connections that one source may hold.
    pub max_connections_per_source: u64,
    /// Buffer utilization (0.0 to 1.0) above which acks suggest a delay.
    pub backpressure_threshold: f64,
    /// First delay of an exponential back-off, in milliseconds.
    pub base_retry_delay_ms: u64,
    /// Longest delay of an exponential back-off, in milliseconds.
    pub max_retry_delay_ms: u64,
    /// Memory that buffered batches and running flushes may take together, in bytes.
    pub memory_budget_bytes: u64,
    /// Bytes that one source may have waiting behind a hole.
    pub max_hole_bytes: u64,
    /// Bytes that one parked table may hold.
    pub max_parked_bytes: u64,
    /// The most that one step of the host's clock counts, in milliseconds.
    pub max_clock_step_ms: u64,
    /// Snapshots that a table keeps.
    pub max_snapshots: u64,
}

const MIB: u64 = 1 << 20;

impl Default for Config {
    fn default() -> Config {
        Config {
            r2_bucket_name: "lakehouse-data".to_owned(),
            r2_base_path: "warehouse".to_owned(),
            flush_threshold_events: 10_000,
            flush_threshold_bytes: 32 * MIB,
            flush_threshold_ms: 60_000,
            flush_interval_ms: 30_000,
            max_buffer_size: 128 * MIB,
            enable_fallback: true,
            max_fallback_size: 64 * MIB,
            enable_deduplication: true,
            deduplication_window_ms: 300_000,
            parquet_row_group_size: 100_000,
            parquet_row_group_bytes: 64 * MIB,
            parquet_compression: Compression::Snappy,
            target_file_size_bytes: 128 * MIB,
            max_payload_size: 4 * MIB,
            max_event_size: MIB,
            max_connections_per_source: 5,
            backpressure_threshold: 0.8,
            base_retry_delay_ms: 100,
            max_retry_delay_ms: 30_000,
            memory_budget_bytes: 64 * MIB,
            max_hole_bytes: 16 * MIB,
            max_parked_bytes: 32 * MIB,
            max_clock_step_ms: 60_000,
            max_snapshots: 1_000,
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: expected {expected}, got {got}")]
pub struct ConfigError {
    /// The setting, as in the JSON.
    pub key: &'static str,
    /// What would be right.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl Config {
    /// Checks every setting and what they must be to one another.
    ///
    /// # Errors
    /// The first setting that cannot be, and what it should be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |key, expected: String, got: String| Err(ConfigError { key, expected, got });
        let positive = [
            ("flushThresholdEvents", self.flush_threshold_events),
            ("flushThresholdBytes", self.flush_threshold_bytes),
            ("flushThresholdMs", self.flush_threshold_ms),
            ("flushIntervalMs", self.flush_interval_ms),
            ("maxBufferSize", self.max_buffer_size),
            ("deduplicationWindowMs", self.deduplication_window_ms),
            ("parquetRowGroupSize", self.parquet_row_group_size),
            ("parquetRowGroupBytes", self.parquet_row_group_bytes),
            ("targetFileSizeBytes", self.target_file_size_bytes),
            ("maxPayloadSize", self.max_payload_size),
            ("maxEventSize", self.max_event_size),
            ("maxConnectionsPerSource", self.max_connections_per_source),
            ("baseRetryDelayMs", self.base_retry_delay_ms),
            ("maxHoleBytes", self.max_hole_bytes),
            ("maxParkedBytes", self.max_parked_bytes),
            ("maxClockStepMs", self.max_clock_step_ms),
            ("maxSnapshots", self.max_snapshots),
        ];
        for (key, value) in positive {
            if value == 0 {
                return fail(key, "a number above 0".to_owned(), "0".to_owned());
            }
        }
        let at_least = [
            ("maxRetryDelayMs", self.max_retry_delay_ms, "baseRetryDelayMs", self.base_retry_delay_ms),
            ("maxBufferSize", self.max_buffer_size, "maxPayloadSize", self.max_payload_size),
            ("maxPayloadSize", self.max_payload_size, "maxEventSize", self.max_event_size),
            (
                "memoryBudgetBytes",
                self.memory_budget_bytes,
                "4 × maxPayloadSize",
                self.max_payload_size.saturating_mul(4),
            ),
        ];
        for (key, value, least_key, least) in at_least {
            if value < least {
                return fail(key, format!("at least {least_key} ({least})"), value.to_string());
            }
        }
        if self.max_payload_size > 32 * MIB {
            return fail("maxPayloadSize", format!("at most {}", 32 * MIB), self.max_payload_size.to_string());
        }
        if !(0.0..=1.0).contains(&self.backpressure_threshold) {
            return fail("backpressureThreshold", "0.0 to 1.0".to_owned(), self.backpressure_threshold.to_string());
        }
        let parts_ok = self.r2_base_path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !parts_ok {
            return fail(
                "r2BasePath",
                "a path like 'warehouse' or 'a/b'".to_owned(),
                format!("{:?}", self.r2_base_path),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_bad_setting_is_named_with_what_was_expected() {
        let check = |change: fn(&mut Config), expected: &str| {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.validate().expect_err("invalid").to_string(), expected);
        };
        check(|c| c.flush_interval_ms = 0, "flushIntervalMs: expected a number above 0, got 0");
        check(|c| c.max_retry_delay_ms = 5, "maxRetryDelayMs: expected at least baseRetryDelayMs (100), got 5");
        check(|c| c.backpressure_threshold = 1.5, "backpressureThreshold: expected 0.0 to 1.0, got 1.5");
        check(
            |c| c.r2_base_path = "../x".into(),
            "r2BasePath: expected a path like 'warehouse' or 'a/b', got \"../x\"",
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<Config>(r#"{"flushEvents": 3}"#).expect_err("unknown");
        assert!(error.to_string().contains("unknown field `flushEvents`"), "{error}");
    }
}
