//! Percent-decoding of paths and queries, with errors that say where and why.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::http::error::{ErrorKind, ErrorModel, HttpError};

/// Decodes one part of a path, or one key or value of a query. `+` is a blank: the Java client encodes paths that way
/// too, and every client that does not sends `%2B` for a plus.
pub(super) fn decode(raw: &str) -> Result<String, String> {
    let spaced: Cow<'_, str> = if raw.contains('+') { raw.replace('+', " ").into() } else { raw.into() };
    let mut rest = spaced.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("{raw:?}: expected two hexadecimal digits after each '%'"));
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| format!("{raw:?}: expected UTF-8 below its percent-encoding"))
}

/// The parameters of a query, in the order of the request.
#[derive(Debug)]
pub(super) struct Query {
    model: ErrorModel,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads `a=1&b=2`. A name without `=` has an empty value. Errors take the shape of `model`.
    pub(super) fn parse(raw: Option<&str>, model: ErrorModel) -> Result<Query, HttpError> {
        let mut pairs = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let fail = |why| HttpError::in_model(model, ErrorKind::InvalidRequest, format!("query: {why}"));
            pairs.push((decode(key).map_err(fail)?, decode(value).map_err(fail)?));
        }
        Ok(Query { model, pairs })
    }

    /// The value of a parameter that may be there once.
    pub(super) fn get(&self, key: &str) -> Result<Option<&str>, HttpError> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(self.invalid(key, "one value", "several")),
        }
    }

    /// The value of a parameter that must be there once.
    pub(super) fn required(&self, key: &str) -> Result<&str, HttpError> {
        self.get(key)?.ok_or_else(|| self.invalid(key, "a value", "nothing"))
    }

    /// A whole number within `least..=most`.
    pub(super) fn number<N>(&self, key: &str, least: N, most: N) -> Result<Option<N>, HttpError>
    where
        N: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.get(key)? else { return Ok(None) };
        match text.parse::<N>() {
            Ok(number) if number >= least && number <= most => Ok(Some(number)),
            Ok(_) | Err(_) => {
                Err(self.invalid(key, &format!("a whole number from {least} to {most}"), &format!("{text:?}")))
            }
        }
    }

    /// Refuses parameters that are not `known`, so that a misspelt one is not silently without effect.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), HttpError> {
        match self.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("query parameter {name:?}: expected one of {}", known.join(", "));
                Err(HttpError::in_model(self.model, ErrorKind::InvalidRequest, message))
            }
        }
    }

    /// The error for a parameter that cannot be.
    pub(super) fn invalid(&self, key: &str, expected: &str, got: &str) -> HttpError {
        let message = format!("query parameter {key}: expected {expected}, got {got}");
        HttpError::in_model(self.model, ErrorKind::InvalidRequest, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_or_its_fault_is_named() {
        let check = |raw: &str, expected: Result<&str, &str>| {
            assert_eq!(decode(raw), expected.map(str::to_owned).map_err(str::to_owned));
        };
        check("orders", Ok("orders"));
        check("a%1Fb", Ok("a\u{1f}b"));
        check("a+b%2Bc%20d", Ok("a b+c d"));
        check("caf%C3%A9", Ok("café"));
        check("%", Err("\"%\": expected two hexadecimal digits after each '%'"));
        check("a%2", Err("\"a%2\": expected two hexadecimal digits after each '%'"));
        check("a%+1", Err("\"a%+1\": expected two hexadecimal digits after each '%'"));
        check("%zz", Err("\"%zz\": expected two hexadecimal digits after each '%'"));
        check("%FF", Err("\"%FF\": expected UTF-8 below its percent-encoding"));
    }

    #[test]
    fn a_parameter_that_cannot_be_is_refused_by_name() {
        let check = |raw: &str, expected: Result<Option<u64>, &str>| {
            let query = Query::parse(Some(raw), ErrorModel::Dolake);
            let number = query.and_then(|query| query.number("n", 1_u64, 9));
            assert_eq!(number.map_err(|error| error.message), expected.map_err(str::to_owned));
        };
        check("", Ok(None));
        check("m=1&&n=7", Ok(Some(7)));
        check("n=0", Err("query parameter n: expected a whole number from 1 to 9, got \"0\""));
        check("n=x", Err("query parameter n: expected a whole number from 1 to 9, got \"x\""));
        check("n", Err("query parameter n: expected a whole number from 1 to 9, got \"\""));
        check("n=1&n=2", Err("query parameter n: expected one value, got several"));
        check("n=%4", Err("query: \"%4\": expected two hexadecimal digits after each '%'"));
    }
}
