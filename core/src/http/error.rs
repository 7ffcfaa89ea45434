//! Errors of the HTTP side, in its two models: DoLake's own, and Iceberg's below the catalog's paths.
//!
//! Own: `{"error":{"code","message","retryable","details"?}}`. Iceberg's (REST specification, `IcebergErrorResponse`):
//! `{"error":{"message","type","code"}}`, where `type` is the exception that Java clients know and `code` the status.

use serde_json::{Value, json};

use crate::http::respond::Answer;

/// Which of the two shapes an error takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorModel {
    /// DoLake's own.
    Dolake,
    /// The Iceberg REST specification's.
    Iceberg,
}

/// What went wrong, by who must act and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong and stays wrong.
    InvalidRequest,
    /// There is no such path or thing.
    NotFound,
    /// There is no such namespace.
    NoSuchNamespace,
    /// There is no such table.
    NoSuchTable,
    /// There is no such warehouse.
    NoSuchWarehouse,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// It cannot be done in the present state.
    Conflict,
    /// The body is too long.
    PayloadTooLarge,
    /// The body is of a kind that is not read.
    UnsupportedMediaType,
    /// Nothing was touched; it may be sent again later.
    TooManyRequests,
    /// DoLake's fault.
    Internal,
    /// Foreseen, but not in this version.
    NotImplemented,
    /// It cannot be done now; it may be sent again later.
    Unavailable,
    /// It was waited for, but not long enough.
    TimedOut,
}

impl ErrorKind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::InvalidRequest => 400,
            ErrorKind::NotFound | ErrorKind::NoSuchNamespace | ErrorKind::NoSuchTable | ErrorKind::NoSuchWarehouse => {
                404
            }
            ErrorKind::MethodNotAllowed => 405,
            ErrorKind::Conflict => 409,
            ErrorKind::PayloadTooLarge => 413,
            ErrorKind::UnsupportedMediaType => 415,
            ErrorKind::TooManyRequests => 429,
            ErrorKind::Internal => 500,
            ErrorKind::NotImplemented => 501,
            ErrorKind::Unavailable => 503,
            ErrorKind::TimedOut => 504,
        }
    }

    /// `code` in DoLake's own model.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "invalid_request",
            ErrorKind::NotFound => "not_found",
            ErrorKind::NoSuchNamespace => "no_such_namespace",
            ErrorKind::NoSuchTable => "no_such_table",
            ErrorKind::NoSuchWarehouse => "no_such_warehouse",
            ErrorKind::MethodNotAllowed => "method_not_allowed",
            ErrorKind::Conflict => "conflict",
            ErrorKind::PayloadTooLarge => "payload_too_large",
            ErrorKind::UnsupportedMediaType => "unsupported_media_type",
            ErrorKind::TooManyRequests => "rate_limited",
            ErrorKind::Internal => "internal_error",
            ErrorKind::NotImplemented => "not_implemented",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::TimedOut => "timed_out",
        }
    }

    /// `type` in Iceberg's model: the name of the Java client's exception, where it has one.
    pub fn iceberg_type(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest | ErrorKind::PayloadTooLarge | ErrorKind::UnsupportedMediaType => {
                "BadRequestException"
            }
            ErrorKind::NotFound => "NotFoundException",
            ErrorKind::NoSuchNamespace => "NoSuchNamespaceException",
            ErrorKind::NoSuchTable => "NoSuchTableException",
            ErrorKind::NoSuchWarehouse => "NoSuchWarehouseException",
            ErrorKind::MethodNotAllowed | ErrorKind::NotImplemented => "UnsupportedOperationException",
            ErrorKind::Conflict => "CommitFailedException",
            ErrorKind::TooManyRequests => "TooManyRequestsException",
            ErrorKind::Internal => "InternalServerError",
            ErrorKind::Unavailable | ErrorKind::TimedOut => "ServiceUnavailableException",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(self) -> bool {
        match self {
            ErrorKind::TooManyRequests
            | ErrorKind::Internal
            | ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::Conflict => true,
            ErrorKind::InvalidRequest
            | ErrorKind::NotFound
            | ErrorKind::NoSuchNamespace
            | ErrorKind::NoSuchTable
            | ErrorKind::NoSuchWarehouse
            | ErrorKind::MethodNotAllowed
            | ErrorKind::PayloadTooLarge
            | ErrorKind::UnsupportedMediaType
            | ErrorKind::NotImplemented => false,
        }
    }

    /// Whether the answer must say when to come again (`Retry-After`).
    fn wants_retry_after(self) -> bool {
        self.status() == 429 || self.status() == 503
    }
}

/// A request that gets an error for an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The shape of the answer.
    pub model: ErrorModel,
    /// What was expected, what came, what to do.
    pub message: String,
    /// When to come again, in milliseconds. Absent with 429 and 503: a second.
    pub retry_after_ms: Option<u64>,
    /// Methods of this path, for 405.
    pub allow: Vec<&'static str>,
    /// More for programs; only in DoLake's own model.
    pub details: Option<Value>,
    /// The same request never succeeds, whatever its kind says.
    pub is_final: bool,
}

impl HttpError {
    /// An error in DoLake's own model.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> HttpError {
        HttpError::in_model(ErrorModel::Dolake, kind, message)
    }

    /// An error in Iceberg's model.
    pub fn catalog(kind: ErrorKind, message: impl Into<String>) -> HttpError {
        HttpError::in_model(ErrorModel::Iceberg, kind, message)
    }

    /// An error in the model that belongs to the path.
    pub fn in_model(model: ErrorModel, kind: ErrorKind, message: impl Into<String>) -> HttpError {
        HttpError {
            kind,
            model,
            message: message.into(),
            retry_after_ms: None,
            allow: Vec::new(),
            details: None,
            is_final: false,
        }
    }

    /// 501: `what`, a noun phrase, is foreseen but not in this version.
    pub fn not_implemented(model: ErrorModel, what: &str) -> HttpError {
        let message = format!("{what}: not available in this version of DoLake");
        HttpError::in_model(model, ErrorKind::NotImplemented, message)
    }

    /// With the time after which to come again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> HttpError {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same request is not to be sent again.
    #[must_use]
    pub fn finally(self) -> HttpError {
        HttpError { is_final: true, ..self }
    }

    /// With more for programs.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> HttpError {
        self.details = Some(details);
        self
    }

    /// The answer: status, `Allow`, `Retry-After` (whole seconds, at least 1) and the body in its model.
    pub fn answer(&self) -> Answer {
        let mut answer = Answer::json(self.kind.status(), &self.body());
        if !self.allow.is_empty() {
            answer = answer.with_header("allow", self.allow.join(", "));
        }
        if self.retry_after_ms.is_some() || self.kind.wants_retry_after() {
            let seconds = self.retry_after_ms.unwrap_or(1_000).div_ceil(1_000).max(1);
            answer = answer.with_header("retry-after", seconds.to_string());
        }
        answer
    }

    fn body(&self) -> Value {
        match self.model {
            ErrorModel::Iceberg => json!({ "error": {
                "message": self.message, "type": self.kind.iceberg_type(), "code": self.kind.status(),
            }}),
            ErrorModel::Dolake => {
                let retryable = self.kind.retryable() && !self.is_final;
                let mut error = json!({ "code": self.kind.code(), "message": self.message, "retryable": retryable });
                if let Some(details) = &self.details {
                    error["details"] = details.clone();
                }
                json!({ "error": error })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_takes_the_shape_of_its_model() {
        let check = |error: HttpError, status: u16, body: Value| {
            let answer = error.answer();
            assert_eq!(answer.head.status, status);
            assert_eq!(serde_json::from_slice::<Value>(&answer.body).expect("JSON"), body);
        };
        check(
            HttpError::new(ErrorKind::InvalidRequest, "no").with_details(json!({"key": "x"})),
            400,
            json!({"error": {"code": "invalid_request", "message": "no", "retryable": false, "details": {"key": "x"}}}),
        );
        check(
            HttpError::catalog(ErrorKind::NoSuchTable, "Table does not exist: a.b"),
            404,
            json!({"error": {"message": "Table does not exist: a.b", "type": "NoSuchTableException", "code": 404}}),
        );
        check(
            HttpError::not_implemented(ErrorModel::Iceberg, "creating a table"),
            501,
            json!({"error": {"message": "creating a table: not available in this version of DoLake",
                             "type": "UnsupportedOperationException", "code": 501}}),
        );
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_missing_with_429_and_503() {
        let check = |error: HttpError, expected: Option<&str>| {
            assert_eq!(error.answer().header("retry-after"), expected);
        };
        check(HttpError::new(ErrorKind::Unavailable, ""), Some("1"));
        check(HttpError::new(ErrorKind::TooManyRequests, "").retry_after_ms(0), Some("1"));
        check(HttpError::new(ErrorKind::TooManyRequests, "").retry_after_ms(1_001), Some("2"));
        check(HttpError::new(ErrorKind::Conflict, "").retry_after_ms(3_000), Some("3"));
        check(HttpError::new(ErrorKind::InvalidRequest, ""), None);
    }
}
