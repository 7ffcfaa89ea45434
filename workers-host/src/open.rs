//! The beginning of a life: from the operator's settings and what the journal holds to a machine.

use bytes::Bytes;
use dolake_core::config::ConfigError;
use dolake_core::{Config, Lake, RestoreError, Saved, Seed, Timestamp};

/// Why no life can begin. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The variable is no such JSON.
    #[error("DOLAKE_CONFIG: {0}")]
    ConfigJson(#[from] serde_json::Error),
    /// A setting cannot be.
    #[error("DOLAKE_CONFIG: {0}")]
    Config(#[from] ConfigError),
    /// The lake has tables under another name of the bucket.
    #[error(
        "DOLAKE_CONFIG: r2BucketName: expected the name that the tables were written under ({found}), got {got:?}: set \
         that name again"
    )]
    Renamed {
        /// A table's metadata.
        found: String,
        /// The name.
        got: String,
    },
    /// The machine cannot go on from what is saved.
    #[error("the object's journal: {0}")]
    Restore(#[from] RestoreError),
}

/// The machine, from `config` (a JSON object; empty: all defaults) and the journal. A binding does not tell its
/// bucket's name, so the name that engines need is a setting.
///
/// # Errors
/// See [`OpenError`].
pub fn open(config: &[u8], saved: Saved, seed: Seed, now: Timestamp) -> Result<Lake, OpenError> {
    let config: Config = if config.is_empty() { Config::default() } else { serde_json::from_slice(config)? };
    config.validate()?;
    let name = config.r2_bucket_name.clone();
    let lake = Lake::restore(config, format!("s3://{name}"), seed, now, saved)?;
    match lake.misplaced() {
        Some(found) => Err(OpenError::Renamed { found: found.to_owned(), got: name }),
        None => Ok(lake),
    }
}

/// What a life starts from, as the shell read it.
pub fn saved(control: Vec<(Bytes, Bytes)>, batches: Vec<(Bytes, Bytes)>) -> Saved {
    Saved { control, batch_keys: batches.into_iter().map(|(key, _)| key).collect() }
}

#[cfg(test)]
mod tests {
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
    fn an_empty_journal_and_no_settings_begin_a_life() {
        assert!(open(b"", Saved::default(), Seed(1), Timestamp(0)).is_ok());
    }
}
