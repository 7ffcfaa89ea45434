//! PATCH `/v1/config`: a partial change of the runtime config, all of it or nothing.
//!
//! Pure: the machine journals the result and puts it into effect.

use serde_json::{Map, Value};

use crate::config::{Config, ConfigError};
use crate::http::error::{ErrorKind, HttpError};

/// Settings that say where the lake lies. Changing them would leave the lake behind, so they are set at start only.
const FIXED: [&str; 2] = ["r2BucketName", "r2BasePath"];

/// The config with the changes of `body`, a JSON object of settings and their new values.
///
/// # Errors
/// 400 that names the setting: one that is not known or is fixed, a value that cannot be, or values that do not go
/// together. `details` has it as `key`.
pub fn patch_config(current: &Config, body: &[u8]) -> Result<Config, HttpError> {
    let patch = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(patch)) => patch,
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return Err(invalid(None, "body: expected a JSON object of settings"));
        }
        Err(error) => return Err(invalid(None, &format!("body: expected a JSON object of settings, got {error}"))),
    };
    let Value::Object(mut changed) = serde_json::to_value(current).expect("a plain struct") else {
        panic!("the config is a struct: {current:?}");
    };
    for (key, value) in patch {
        check_setting(&changed, &key, &value)?;
        changed.insert(key, value);
    }
    // What each setting is alone was checked; a name that stands twice in the body can only be seen in its bytes.
    serde_json::from_slice::<Config>(body).map_err(|error| invalid(None, &format!("body: {error}")))?;
    let config: Config =
        serde_json::from_value(Value::Object(changed)).map_err(|error| invalid(None, &format!("body: {error}")))?;
    let whole = |ConfigError { key, expected, got }: ConfigError| {
        invalid(Some(key), &format!("{key}: expected {expected}, got {got}; nothing was changed"))
    };
    config.validate().map_err(whole)?;
    Ok(config)
}

/// Checks that a setting is known, may be changed, and takes values of this kind.
fn check_setting(current: &Map<String, Value>, key: &str, value: &Value) -> Result<(), HttpError> {
    let Some(now) = current.get(key) else {
        let known = current.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(invalid(Some(key), &format!("{key}: expected one of the settings {known}")));
    };
    if FIXED.contains(&key) && value != now {
        let message = format!("{key}: expected {now}, which only a start can change, got {value}");
        return Err(invalid(Some(key), &message));
    }
    let alone = Value::Object(Map::from_iter([(key.to_owned(), value.clone())]));
    let kind = |error: serde_json::Error| invalid(Some(key), &format!("{key}: {error}; nothing was changed"));
    serde_json::from_value::<Config>(alone).map(|_| ()).map_err(kind)
}

fn invalid(key: Option<&str>, message: &str) -> HttpError {
    let error = HttpError::new(ErrorKind::InvalidRequest, message);
    match key {
        Some(key) => error.with_details(serde_json::json!({ "key": key })),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Compression;

    #[test]
    fn what_is_named_changes_and_nothing_else() {
        let check = |body: &str, expected: Config| {
            assert_eq!(patch_config(&Config::default(), body.as_bytes()), Ok(expected));
        };
        check("{}", Config::default());
        check(r#"{"flushIntervalMs": 5}"#, Config { flush_interval_ms: 5, ..Config::default() });
        check(
            r#"{"parquetCompression": "zstd", "enableFallback": false, "backpressureThreshold": 1}"#,
            Config {
                parquet_compression: Compression::Zstd,
                enable_fallback: false,
                backpressure_threshold: 1.0,
                ..Config::default()
            },
        );
        check(r#"{"r2BasePath": "warehouse"}"#, Config::default());
    }

    #[test]
    fn changes_are_made_to_what_is_current_not_to_the_defaults() {
        let current = Config { max_snapshots: 7, ..Config::default() };
        let changed = patch_config(&current, br#"{"maxHoleBytes": 9}"#).expect("valid");
        assert_eq!(changed, Config { max_snapshots: 7, max_hole_bytes: 9, ..Config::default() });
    }

    #[test]
    fn a_change_that_cannot_be_is_refused_by_name() {
        let check = |body: &str, key: Option<&str>, message: &str| {
            let error = patch_config(&Config::default(), body.as_bytes()).expect_err(body);
            assert_eq!((error.kind, error.model), (ErrorKind::InvalidRequest, crate::http::ErrorModel::Dolake));
            assert!(error.message.starts_with(message), "{}", error.message);
            assert_eq!(error.details, key.map(|key| serde_json::json!({ "key": key })));
        };
        check("", None, "body: expected a JSON object of settings, got EOF");
        check("[]", None, "body: expected a JSON object of settings");
        check("{\"a\"", None, "body: expected a JSON object of settings, got EOF");
        check(r#"{"flushEvents": 1}"#, Some("flushEvents"), "flushEvents: expected one of the settings backpressure");
        check(
            r#"{"flushIntervalMs": "5"}"#,
            Some("flushIntervalMs"),
            "flushIntervalMs: invalid type: string \"5\", expected u64; nothing was changed",
        );
        check(
            r#"{"flushIntervalMs": -1}"#,
            Some("flushIntervalMs"),
            "flushIntervalMs: invalid value: integer `-1`, expected u64",
        );
        check(r#"{"flushIntervalMs": null}"#, Some("flushIntervalMs"), "flushIntervalMs: invalid type: null");
        check(
            r#"{"parquetCompression": "lz4"}"#,
            Some("parquetCompression"),
            "parquetCompression: unknown variant `lz4`, expected one of `none`, `snappy`, `gzip`, `zstd`",
        );
        check(r#"{"flushIntervalMs": 1, "flushIntervalMs": 2}"#, None, "body: duplicate field `flushIntervalMs`");
        check(
            r#"{"r2BasePath": "other"}"#,
            Some("r2BasePath"),
            "r2BasePath: expected \"warehouse\", which only a start can change, got \"other\"",
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused_whole() {
        let body = br#"{"maxEventSize": 4194305, "flushIntervalMs": 1}"#;
        let error = patch_config(&Config::default(), body).expect_err("too large");
        assert_eq!(error.details, Some(serde_json::json!({ "key": "maxPayloadSize" })));
        let expected = "maxPayloadSize: expected at least maxEventSize (4194305), got 4194304; nothing was changed";
        assert_eq!(error.message, expected);
    }
}
