//! What R2 says when it fails, in words, and what that means for the machine.
//!
//! The binding's errors are text that ends in R2's own number: `put: The specified object name is not valid. (10020)`.

use dolake_core::command::{Failure, Outcome};

/// Longer messages are cut.
const MESSAGE_CHARS_MAX: usize = 600;

/// R2's numbers for requests that it turned down before doing anything: R2's list of error codes.
const REFUSED: [u32; 14] = [
    10_002,  // not authorised
    10_003,  // no such account
    10_004,  // signature
    10_006,  // no such bucket
    10_012,  // metadata too large
    10_018,  // token expired
    10_019,  // forbidden
    10_020,  // the key is not valid
    10_029,  // not there
    10_039,  // the range cannot be
    10_042,  // not entitled
    10_058,  // too many requests for this key or bucket
    100_100, // too large
    100_145, // argument
];

/// What kind of command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes; may have had its effect.
    Put,
    /// Reads.
    Get,
    /// Deletes; may have had its effect.
    Delete,
}

/// The outcome of a store command that failed with `message`.
pub fn of_failure(kind: Kind, message: &str) -> Outcome {
    let what = match kind {
        Kind::Put => "put",
        Kind::Get => "get",
        Kind::Delete => "delete",
    };
    let shown: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let failure = Failure { message: format!("store: {what}: {shown}"), retry_after_ms: None };
    match number(message) {
        Some(number) if REFUSED.contains(&number) => Outcome::Refused(failure),
        Some(_) | None => Outcome::Unknown(failure),
    }
}

/// The number in parentheses at the end.
fn number(message: &str) -> Option<u32> {
    let (_, number) = message.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> bool {
        matches!(of_failure(Kind::Put, message), Outcome::Refused(_))
    }

    #[test]
    fn what_r2_turned_down_had_no_effect() {
        assert!(refused("put: The specified object name is not valid. (10020)"));
        assert!(refused("put: Reduce your concurrent request rate for the same object. (10058)"));
    }

    #[test]
    fn of_anything_else_nobody_knows() {
        assert!(!refused("put: We encountered an internal error. Please try again. (10001)"));
        assert!(!refused("Network connection lost."));
        assert!(!refused("put: odd (10020) text"));
        assert!(!refused(""));
    }

    #[test]
    fn a_long_message_is_cut() {
        let Outcome::Unknown(failure) = of_failure(Kind::Get, &"é".repeat(5_000)) else { panic!("unknown") };
        assert_eq!(failure.message.chars().count(), "store: get: ".len() + MESSAGE_CHARS_MAX);
    }
}
