//! What a failure of the store means for the machine: certainly nothing happened, or nobody knows.
//!
//! When in doubt, nobody knows: a timeout is never taken for a failure.

#![allow(clippy::wildcard_enum_match_arm, reason = "an error of the store that is not listed is one nobody knows of")]

use dolake_core::command::{Failure, Outcome};
use object_store::Error;

use super::witness::Seen;

/// Longer messages are cut: some stores answer with whole pages.
const MESSAGE_CHARS_MAX: usize = 600;

/// The outcome of a failed `Put`.
pub fn of_put(error: &Error, seen: Seen) -> Outcome {
    match error {
        // S3: another conditional write of this key is under way; this one had no effect, but nothing need be there.
        Error::AlreadyExists { .. } if status(seen) == Some(409) => Outcome::Refused(failure(error, seen)),
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => Outcome::Conflict,
        _ if had_no_effect(error, seen) => Outcome::Refused(failure(error, seen)),
        _ => Outcome::Unknown(failure(error, seen)),
    }
}

/// The outcome of a failed `Get`. It never has an effect, so `Unknown` says only that another try may go better.
pub fn of_get(error: &Error, seen: Seen) -> Outcome {
    match error {
        Error::NotFound { .. } if !bucket_is_missing(error) => Outcome::Absent,
        _ if had_no_effect(error, seen) => Outcome::Refused(failure(error, seen)),
        _ => Outcome::Unknown(failure(error, seen)),
    }
}

/// The outcome of a failed `Delete`.
pub fn of_delete(error: &Error, seen: Seen) -> Outcome {
    match error {
        Error::NotFound { .. } if !bucket_is_missing(error) => Outcome::Deleted,
        _ if had_no_effect(error, seen) => Outcome::Refused(failure(error, seen)),
        _ => Outcome::Unknown(failure(error, seen)),
    }
}

fn had_no_effect(error: &Error, seen: Seen) -> bool {
    match error {
        Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. } => true,
        _ => match seen {
            // 408: the store gave up on the request, which may be on its way still.
            Seen::Status { code, .. } => (300..500).contains(&code) && code != 408,
            Seen::NotConnected => true,
            Seen::Nothing | Seen::Cut => false,
        },
    }
}

/// A bucket that is not there must not look like an empty lake.
fn bucket_is_missing(error: &Error) -> bool {
    error.to_string().contains("NoSuchBucket")
}

fn status(seen: Seen) -> Option<u16> {
    match seen {
        Seen::Status { code, .. } => Some(code),
        Seen::Nothing | Seen::NotConnected | Seen::Cut => None,
    }
}

fn failure(error: &Error, seen: Seen) -> Failure {
    let retry_after_ms = match seen {
        Seen::Status { retry_after_ms, .. } => retry_after_ms,
        Seen::Nothing | Seen::NotConnected | Seen::Cut => None,
    };
    let message: String = format!("store: {error}").chars().take(MESSAGE_CHARS_MAX).collect();
    Failure { message, retry_after_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic() -> Error {
        Error::Generic { store: "S3", source: "it broke".into() }
    }

    fn not_found(body: &str) -> Error {
        Error::NotFound { path: "k".to_owned(), source: body.to_owned().into() }
    }

    fn answered(code: u16) -> Seen {
        Seen::Status { code, retry_after_ms: None }
    }

    #[track_caller]
    fn check(outcome: &Outcome, expected: &str) {
        let name = match outcome {
            Outcome::Absent => "absent",
            Outcome::Conflict => "conflict",
            Outcome::Deleted => "deleted",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
            Outcome::Saved | Outcome::Loaded(_) | Outcome::Put | Outcome::Got(_) | Outcome::Worked(_) => "other",
        };
        assert_eq!(name, expected, "{outcome:?}");
    }

    #[test]
    fn a_put_that_the_store_turned_down_had_no_effect() {
        for code in [307, 400, 403, 404, 413, 429] {
            check(&of_put(&generic(), answered(code)), "refused");
        }
        check(&of_put(&generic(), Seen::NotConnected), "refused");
    }

    #[test]
    fn of_a_put_that_was_cut_off_nobody_knows() {
        for code in [200, 408, 500, 502, 503, 504] {
            check(&of_put(&generic(), answered(code)), "unknown");
        }
        check(&of_put(&generic(), Seen::Cut), "unknown");
        check(&of_put(&generic(), Seen::Nothing), "unknown");
    }

    #[test]
    fn a_conditional_put_conflicts_only_when_something_is_there() {
        let exists = Error::AlreadyExists { path: "k".to_owned(), source: "there".into() };
        check(&of_put(&exists, answered(412)), "conflict");
        check(&of_put(&exists, Seen::Nothing), "conflict");
        check(&of_put(&exists, answered(409)), "refused");
    }

    #[test]
    fn what_is_not_there_is_absent_or_deleted_but_never_without_its_bucket() {
        check(&of_get(&not_found("NoSuchKey"), answered(404)), "absent");
        check(&of_delete(&not_found("NoSuchKey"), answered(404)), "deleted");
        check(&of_put(&not_found("NoSuchBucket"), answered(404)), "refused");
        check(&of_get(&not_found("NoSuchBucket"), answered(404)), "refused");
        check(&of_delete(&not_found("NoSuchBucket"), answered(404)), "refused");
    }

    #[test]
    fn a_failure_hands_on_how_long_the_store_asked_to_wait() {
        let seen = Seen::Status { code: 503, retry_after_ms: Some(3_000) };
        let expected = Failure { message: "store: Generic S3 error: it broke".to_owned(), retry_after_ms: Some(3_000) };
        assert_eq!(of_put(&generic(), seen), Outcome::Unknown(expected));
    }
}
