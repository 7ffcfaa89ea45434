//! The leaves of the parser: one field of an envelope, of one type, with its error.

use std::ops::RangeInclusive;

use crate::limits::SEQUENCE_MAX;
use crate::wire::batch::Span;
use crate::wire::error::{Parsed, Refusal, quote};
use crate::wire::json::{Cursor, JsonStr, Kind};

/// What JavaScript's `Date` can hold, in milliseconds. As microseconds it fits Iceberg's 64 bits.
const TIMESTAMP_MS: RangeInclusive<i64> = -8_640_000_000_000_000..=8_640_000_000_000_000;

/// An object's fields, one after the other, each known one at most once.
pub(super) struct Fields<'a, 'c> {
    pub(super) cursor: &'c mut Cursor<'a>,
    entered: bool,
    seen: u32,
}

impl<'a, 'c> Fields<'a, 'c> {
    /// Steps into an object.
    pub(super) fn of(cursor: &'c mut Cursor<'a>) -> Parsed<Fields<'a, 'c>> {
        if kind(cursor)? != Kind::Object {
            return Err(wrong(cursor, "an object"));
        }
        cursor.enter_object().map_err(|error| Refusal::syntax(cursor.text(), error))?;
        Ok(Fields { cursor, entered: true, seen: 0 })
    }

    /// The next key.
    #[inline]
    pub(super) fn next(&mut self) -> Parsed<Option<JsonStr<'a>>> {
        let first = std::mem::replace(&mut self.entered, false);
        self.cursor.next_key(first).map_err(|error| Refusal::syntax(self.cursor.text(), error))
    }

    /// Notes that a known field came; `number` is its own, below 32. Twice would be ambiguous.
    #[inline]
    pub(super) fn once(&mut self, number: u32) -> Parsed<()> {
        let bit = 1 << number;
        if self.seen & bit != 0 {
            return Err(Refusal::wrong("", "this field once", "it twice"));
        }
        self.seen |= bit;
        Ok(())
    }
}

/// What comes next.
#[inline]
pub(super) fn kind(cursor: &mut Cursor<'_>) -> Parsed<Kind> {
    cursor.peek().map_err(|error| Refusal::syntax(cursor.text(), error))
}

/// Passes over a value.
#[inline]
pub(super) fn skip(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    cursor.skip().map_err(|error| Refusal::syntax(cursor.text(), error))
}

/// The error for the value that comes next.
#[cold]
pub(super) fn wrong(cursor: &mut Cursor<'_>, expected: impl std::fmt::Display) -> Box<Refusal> {
    match skip(cursor) {
        Ok(span) => Refusal::wrong("", expected, quote(&cursor.text()[span.range()])),
        Err(error) => error,
    }
}

/// An integer without fraction or exponent, as JSON writes all that a producer counts.
#[inline]
fn integer(cursor: &mut Cursor<'_>, range: RangeInclusive<i64>) -> Parsed<i64> {
    let expected = |range: &RangeInclusive<i64>| format!("an integer from {} to {}", range.start(), range.end());
    if kind(cursor)? != Kind::Number {
        return Err(wrong(cursor, expected(&range)));
    }
    let digits = cursor.number().map_err(|error| Refusal::syntax(cursor.text(), error))?;
    match digits.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(Refusal::wrong("", expected(&range), quote(digits))),
    }
}

/// A number of a batch or an event, or a count: at least `least`, at most [`SEQUENCE_MAX`].
#[inline]
pub(super) fn sequence(cursor: &mut Cursor<'_>, least: i64) -> Parsed<u64> {
    const MAX: i64 = SEQUENCE_MAX as i64;
    integer(cursor, least..=MAX).map(|value| u64::try_from(value).expect("the range starts at 0 or above"))
}

/// Milliseconds since the Unix epoch.
#[inline]
pub(super) fn timestamp(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    integer(cursor, TIMESTAMP_MS)
}

/// A string, undecoded.
#[inline]
pub(super) fn string<'a>(cursor: &mut Cursor<'a>, expected: &'static str) -> Parsed<JsonStr<'a>> {
    if kind(cursor)? != Kind::String {
        return Err(wrong(cursor, expected));
    }
    cursor.string().map_err(|error| Refusal::syntax(cursor.text(), error))
}

/// Whether a string is one that [`name`] reads.
pub(crate) fn is_name(value: &str, bytes: &RangeInclusive<usize>) -> bool {
    bytes.contains(&value.len()) && !value.chars().any(char::is_control)
}

/// A string of `bytes` bytes without control characters. It becomes part of keys, headers and log lines.
pub(super) fn name(cursor: &mut Cursor<'_>, bytes: RangeInclusive<usize>) -> Parsed<String> {
    let expected = || format!("a string of {} to {} bytes without control characters", bytes.start(), bytes.end());
    if kind(cursor)? != Kind::String {
        return Err(wrong(cursor, expected()));
    }
    let start = cursor.offset();
    let value = cursor.string().map_err(|error| Refusal::syntax(cursor.text(), error))?.decode();
    if is_name(&value, &bytes) {
        Ok(value.into_owned())
    } else {
        Err(Refusal::wrong("", expected(), quote(&cursor.text()[start..cursor.offset()])))
    }
}

/// `true` or `false`.
pub(super) fn boolean(cursor: &mut Cursor<'_>) -> Parsed<bool> {
    if kind(cursor)? != Kind::Bool {
        return Err(wrong(cursor, "true or false"));
    }
    cursor.bool().map_err(|error| Refusal::syntax(cursor.text(), error))
}

/// An object; `null` is read as absent.
#[inline]
pub(super) fn object_or_null(cursor: &mut Cursor<'_>) -> Parsed<Option<Span>> {
    match kind(cursor)? {
        Kind::Object => skip(cursor).map(Some),
        Kind::Null => skip(cursor).map(|_| None),
        Kind::Array | Kind::String | Kind::Number | Kind::Bool => Err(wrong(cursor, "an object or null")),
    }
}

/// `null` is read as absent; else what `read` reads.
pub(super) fn optional<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Parsed<T>,
) -> Parsed<Option<T>> {
    if kind(cursor)? == Kind::Null { skip(cursor).map(|_| None) } else { read(cursor).map(Some) }
}
