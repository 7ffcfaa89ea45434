//! Whole HTTP answers: status, headers, body.
//!
//! An answer to HEAD may carry a body here: hosts leave it out, as HTTP demands.

use bytes::Bytes;
use serde::Serialize;

use crate::command::ResponseHead;

/// A whole answer, ready for [`crate::Command::Respond`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status and headers.
    pub head: ResponseHead,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// An answer without a body and headers.
    pub fn empty(status: u16) -> Answer {
        Answer { head: ResponseHead { status, headers: Vec::new() }, body: Bytes::new() }
    }

    /// An answer of this content type.
    pub fn typed(status: u16, content_type: &str, body: Bytes) -> Answer {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Answer { head: ResponseHead { status, headers }, body }
    }

    /// JSON that is already written.
    pub fn json_bytes(status: u16, body: Bytes) -> Answer {
        Answer::typed(status, "application/json", body)
    }

    /// A value as JSON. The value's type must be one that JSON can hold: structs, lists, maps with string keys.
    pub fn json(status: u16, value: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(value).expect("answers are plain structs, lists and string-keyed maps");
        Answer::json_bytes(status, body.into())
    }

    /// Plain text.
    pub fn text(status: u16, text: &str) -> Answer {
        Answer::typed(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
    }

    /// With one header more; `name` in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.head.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_its_body_is() {
        let check = |answer: Answer, status: u16, content_type: Option<&str>, body: &str| {
            assert_eq!(answer.head.status, status);
            assert_eq!(answer.header("content-type"), content_type);
            assert_eq!(std::str::from_utf8(&answer.body), Ok(body));
        };
        check(Answer::empty(204), 204, None, "");
        check(Answer::text(200, "OK"), 200, Some("text/plain; charset=utf-8"), "OK");
        check(Answer::json(200, &[1, 2]), 200, Some("application/json"), "[1,2]");
    }
}
