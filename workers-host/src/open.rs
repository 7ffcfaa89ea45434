//! The beginning of a life: from the operator's settings and what the journal holds to a machine.

use bytes::Bytes;
use dolake_core::config::ConfigError;
use dolake_core::{Config, Lake, RestoreError, Saved, Seed, Timestamp};
use serde_json::Value;

use crate::rows;

/// Why no life can begin. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The variable is no such JSON.
    #[error("DOLAKE_CONFIG: {0}")]
    ConfigJson(#[from] serde_json::Error),
    /// A setting cannot be.
    #[error("DOLAKE_CONFIG: {0}")]
    Config(#[from] ConfigError),
    /// The lake has tables under another name of the bucket, or another path in it.
    #[error(
        "DOLAKE_CONFIG: r2BucketName and r2BasePath: expected those that the tables were written under ({found}), got \
         {got}: set them again"
    )]
    Renamed {
        /// A table's metadata.
        found: String,
        /// Where tables would lie.
        got: String,
    },
    /// The storage holds what no host of this release wrote.
    #[error(
        "the object's journal: expected entries as this release of DoLake packs them, found others: they are damaged, or \
         of another release; start that one again"
    )]
    Unreadable,
    /// The machine cannot go on from what is saved.
    #[error("the object's journal: {0}")]
    Restore(#[from] RestoreError),
}

/// The machine, from `config` (a JSON object; empty: all defaults) and the journal. A binding does not tell its
/// bucket's name, so the name that engines need is a setting; the status warns for as long as nobody has set it.
///
/// # Errors
/// See [`OpenError`].
pub fn open(config: &[u8], saved: Saved, seed: Seed, now: Timestamp) -> Result<Lake, OpenError> {
    let json = if config.is_empty() { b"{}" } else { config };
    let mut config: Config = serde_json::from_slice(json)?;
    let set: Value = serde_json::from_slice(json)?;
    if set.get("memoryBudgetBytes").is_none() {
        config.memory_budget_bytes = memory_budget(config.max_payload_size);
    }
    config.validate()?;
    let is_named = set.get("r2BucketName").is_some();
    let name = config.r2_bucket_name.clone();
    let lake = Lake::restore(config, format!("s3://{name}"), seed, now, saved)?;
    match lake.misplaced() {
        Some(found) => Err(OpenError::Renamed { found: found.to_owned(), got: lake.tables_location() }),
        None => Ok(lake.warning((!is_named).then(|| unnamed(&name)))),
    }
}

/// The settings where nobody sets any.
pub fn defaults() -> Config {
    let config = Config::default();
    Config { memory_budget_bytes: memory_budget(config.max_payload_size), ..config }
}

/// Memory for buffered batches and flushes, where nobody has set it. An object may take 128 MB with everything that
/// runs in it, and the budget counts neither what a message is while it comes in nor the gaps that such leave behind: they
/// can be as much again. Longer messages need more, but never more than elsewhere.
fn memory_budget(max_payload_size: u64) -> u64 {
    max_payload_size.saturating_mul(4).clamp(40 << 20, Config::default().memory_budget_bytes)
}

fn unnamed(name: &str) -> String {
    format!(
        "DOLAKE_CONFIG: r2BucketName is not set, so tables' metadata says that their files lie in s3://{name}: set it \
         to the bucket's own name before the first event, or engines find tables only by path. A lake that has tables \
         keeps the name that they have: begin another, in an empty bucket and an object of another name"
    )
}

/// What a life starts from, as the shell read it (see [`rows`]).
///
/// # Errors
/// [`OpenError::Unreadable`]: a life that began without some of its entries would be another lake's.
pub fn unpacked(control: Bytes, batches: Bytes) -> Result<Saved, OpenError> {
    let rows = rows::decode(control).zip(rows::decode(batches));
    rows.map(|(control, batches)| saved(control, batches)).ok_or(OpenError::Unreadable)
}

/// What a life starts from.
pub fn saved(control: Vec<(Bytes, Bytes)>, batches: Vec<(Bytes, Bytes)>) -> Saved {
    Saved { control, batch_keys: batches.into_iter().map(|(key, _)| key).collect() }
}

#[cfg(test)]
mod tests {
    use dolake_core::command::Command;
    use dolake_core::event::{CallId, RequestHead};
    use dolake_core::{Commands, Event};

    use super::*;

    fn message(config: &str, saved: Saved) -> String {
        let opened = open(config.as_bytes(), saved, Seed(1), Timestamp(0));
        opened.map(drop).expect_err("cannot be opened").to_string()
    }

    #[test]
    fn what_the_operator_must_mend_is_named() {
        assert!(message(r#"{"flushEvents": 3}"#, Saved::default()).contains("DOLAKE_CONFIG: unknown field"));
        assert_eq!(
            message(r#"{"flushIntervalMs": 0}"#, Saved::default()),
            "DOLAKE_CONFIG: flushIntervalMs: expected a number above 0, got 0"
        );
        let damaged = saved(vec![(Bytes::from("c/lake"), Bytes::from("\u{ff}"))], Vec::new());
        assert!(message("", damaged).starts_with("the object's journal: the journal"));
    }

    #[test]
    fn entries_that_cannot_be_read_are_not_left_out() {
        let entry = |how: u8| Bytes::from([&b"\x06\0\0\0\x02\0\0\0c/lake"[..], &[how, 1]].concat());
        assert_eq!(unpacked(entry(0), Bytes::new()).map(|saved| saved.control.len()).ok(), Some(1));
        let message = unpacked(entry(9), Bytes::new()).expect_err("packed in a way that is not known").to_string();
        assert!(message.starts_with("the object's journal: expected entries as this release"), "{message}");
        assert!(unpacked(Bytes::new(), entry(9)).is_err());
    }

    fn status(config: &str) -> Value {
        let opened = open(config.as_bytes(), Saved::default(), Seed(1), Timestamp(0));
        let head =
            RequestHead { method: "GET".to_owned(), path: "/status".to_owned(), query: None, headers: Vec::new() };
        let mut commands = Commands::new();
        opened.expect("opened").step(Timestamp(0), Event::Requested { call: CallId(1), head }, &mut commands);
        let mut answers = commands.iter().filter_map(|command| {
            let Command::Respond { body, .. } = command else { return None };
            Some(body)
        });
        serde_json::from_slice(answers.next().expect("an answer")).expect("JSON")
    }

    #[test]
    fn an_object_has_less_memory_than_a_server_unless_somebody_says_otherwise() {
        assert_eq!(defaults().memory_budget_bytes, 40 << 20);
        assert_eq!(Config { memory_budget_bytes: 64 << 20, ..defaults() }, Config::default());
        for (max_payload_mb, budget_mb) in [(1, 40), (4, 40), (12, 48), (16, 64), (32, 64)] {
            assert_eq!(memory_budget(max_payload_mb << 20), budget_mb << 20);
        }
        let too_little = r#"{"memoryBudgetBytes": 1000}"#;
        assert!(message(too_little, Saved::default()).contains("memoryBudgetBytes: expected at least"));
    }

    #[test]
    fn a_bucket_that_nobody_named_is_warned_of() {
        for config in ["", "{}", r#"{"flushIntervalMs": 1000}"#] {
            let warnings = status(config)["warnings"].take();
            let [Value::String(warning)] = &warnings.as_array().expect("a list")[..] else { panic!("{warnings}") };
            assert!(
                warning.contains("r2BucketName is not set") && warning.contains("s3://lakehouse-data"),
                "{warning}"
            );
        }
        for config in [r#"{"r2BucketName": "shop-data"}"#, r#"{"r2BucketName": "lakehouse-data"}"#] {
            assert_eq!(status(config).get("warnings"), None, "{config}");
        }
    }

    #[test]
    fn an_empty_journal_and_no_settings_begin_a_life() {
        assert!(open(b"", Saved::default(), Seed(1), Timestamp(0)).is_ok());
    }
}
