//! A cursor over JSON text: checks it fully, looks at no byte twice, copies nothing, and tells places by offset.
//!
//! What it passes over is valid JSON (RFC 8259) in every respect that matters later: numbers, escapes, no control
//! characters in strings, no lone surrogates (no UTF-8 column could hold them), nesting of at most
//! [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX). So what was acked can always be applied (promise 4).
//!
//! It never recurses, so no input exhausts the stack, and never allocates, but where a string with escapes is decoded.
//! [`crate::wire::parse`] reads envelopes with it, the table's encoder row images.

use std::borrow::Cow;

use crate::limits::JSON_DEPTH_MAX;
use crate::wire::batch::Span;
pub use crate::wire::json_error::{Expected, JsonError};

/// What a value is, as its first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// `-` or a digit
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// A string as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonStr<'a> {
    /// Between the quotes.
    pub raw: &'a str,
    /// Whether `raw` holds a backslash; if not, it is the string itself.
    pub escaped: bool,
}

impl<'a> JsonStr<'a> {
    /// The string that is meant.
    pub fn decode(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// A place in JSON text. Methods that read a value skip the white space before it, and stand behind it afterwards.
///
/// Objects: `enter_object`, then `next_key` until it is `None`, reading each key's value in between. Arrays:
/// `enter_array`, then `next_element` until it is false, likewise.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Stands before the first byte. Offsets are those of `text`, which is at most 4 GiB.
    pub fn new(text: &'a str) -> Cursor<'a> {
        assert!(u32::try_from(text.len()).is_ok(), "JSON text of {} bytes, spans hold at most 2^32", text.len());
        Cursor { text, at: 0 }
    }

    /// All of the text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What the next value is.
    ///
    /// # Errors
    /// No value starts here.
    pub fn peek(&mut self) -> Result<Kind, JsonError> {
        self.skip_space();
        match self.byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => self.fail(Expected::Value),
        }
    }

    /// Steps into an object.
    ///
    /// # Errors
    /// No object starts here.
    pub fn enter_object(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        self.expect(b'{', Expected::Object)
    }

    /// The next key, standing before its value; `None` when the object is over, standing behind it.
    /// `first` says whether the object was just entered.
    ///
    /// # Errors
    /// Neither a key nor the end is here.
    #[inline]
    pub fn next_key(&mut self, first: bool) -> Result<Option<JsonStr<'a>>, JsonError> {
        if !self.goes_on(first, b'}', Expected::CommaOrBrace)? {
            return Ok(None);
        }
        let key = self.string_here(Expected::Key)?;
        self.skip_space();
        self.expect(b':', Expected::Colon)?;
        Ok(Some(key))
    }

    /// Steps over the next key if it is spelled `quoted` (quotes included), standing before its value then. For readers
    /// who know which key will come: costs one comparison.
    #[inline]
    pub fn next_key_is(&mut self, first: bool, quoted: &str) -> bool {
        let start = self.at;
        self.skip_space();
        if !first {
            self.at += usize::from(self.byte() == Some(b','));
            self.skip_space();
        }
        if self.text.as_bytes()[self.at..].starts_with(quoted.as_bytes()) {
            self.at += quoted.len();
            self.skip_space();
            if self.byte() == Some(b':') {
                self.at += 1;
                return true;
            }
        }
        self.at = start;
        false
    }

    /// Steps into an array.
    ///
    /// # Errors
    /// No array starts here.
    pub fn enter_array(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        self.expect(b'[', Expected::Array)
    }

    /// Whether another element follows, standing before it; else the array is over, standing behind it.
    /// `first` says whether the array was just entered.
    ///
    /// # Errors
    /// Neither an element nor the end is here.
    #[inline]
    pub fn next_element(&mut self, first: bool) -> Result<bool, JsonError> {
        if !self.goes_on(first, b']', Expected::CommaOrBracket)? {
            return Ok(false);
        }
        self.peek().map(|_| true)
    }

    /// Reads a string.
    ///
    /// # Errors
    /// No valid string is here.
    #[inline]
    pub fn string(&mut self) -> Result<JsonStr<'a>, JsonError> {
        self.skip_space();
        self.string_here(Expected::String)
    }

    /// Reads a number, as it is spelled.
    ///
    /// # Errors
    /// No valid number is here.
    #[inline]
    pub fn number(&mut self) -> Result<&'a str, JsonError> {
        self.skip_space();
        let start = self.at;
        self.number_here()?;
        Ok(&self.text[start..self.at])
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// Neither is here.
    pub fn bool(&mut self) -> Result<bool, JsonError> {
        self.skip_space();
        if self.byte() == Some(b't') {
            self.literal("true", Expected::True).map(|()| true)
        } else {
            self.literal("false", Expected::False).map(|()| false)
        }
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// It is not here.
    pub fn null(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        self.literal("null", Expected::Null)
    }

    /// Passes over a whole value, checking all of it, and says where it stands (without the white space around it).
    ///
    /// # Errors
    /// No valid value is here, or it is nested more than [`JSON_DEPTH_MAX`] deep.
    #[inline]
    pub fn skip(&mut self) -> Result<Span, JsonError> {
        self.skip_space();
        let start = self.at;
        self.skip_here()?;
        Ok(span(start, self.at))
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// Something is.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { self.fail(Expected::End) }
    }

    /// `open` is a stack of bits, one for each container around the value at hand: 1 for an object, 0 for an array.
    fn skip_here(&mut self) -> Result<(), JsonError> {
        const { assert!(JSON_DEPTH_MAX <= 64, "the stack is a u64") };
        let (mut open, mut depth) = (0_u64, 0_usize);
        loop {
            let mut entered = false;
            match self.byte() {
                Some(b'"') => self.string_end(Expected::String).map(|_| ())?,
                Some(b'{' | b'[') if depth == JSON_DEPTH_MAX => return self.fail(Expected::ShallowNesting),
                Some(b'{') => {
                    self.at += 1;
                    (open, depth, entered) = (open << 1 | 1, depth + 1, true);
                }
                Some(b'[') => {
                    self.at += 1;
                    (open, depth, entered) = (open << 1, depth + 1, true);
                }
                Some(b'-' | b'0'..=b'9') => self.number_here()?,
                Some(b't') => self.literal("true", Expected::True)?,
                Some(b'f') => self.literal("false", Expected::False)?,
                Some(b'n') => self.literal("null", Expected::Null)?,
                _ => return self.fail(Expected::Value),
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let goes_on = if open & 1 == 1 {
                    self.goes_on(entered, b'}', Expected::CommaOrBrace)? && self.skip_key().map(|()| true)?
                } else {
                    self.goes_on(entered, b']', Expected::CommaOrBracket)?
                };
                if goes_on {
                    break;
                }
                (open, depth, entered) = (open >> 1, depth - 1, false);
            }
        }
    }

    /// Whether a container goes on, standing before its next member, or is over, standing behind it.
    #[inline]
    fn goes_on(&mut self, first: bool, close: u8, expected: Expected) -> Result<bool, JsonError> {
        self.skip_space();
        match self.byte() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            _ if first => Ok(true),
            _ => self.fail(expected),
        }
    }

    /// Passes over a key, to its value.
    #[inline]
    fn skip_key(&mut self) -> Result<(), JsonError> {
        self.string_end(Expected::Key)?;
        self.skip_space();
        self.expect(b':', Expected::Colon)?;
        self.skip_space();
        Ok(())
    }

    #[inline]
    fn string_here(&mut self, expected: Expected) -> Result<JsonStr<'a>, JsonError> {
        let start = self.at + 1;
        let escaped = self.string_end(expected)?;
        Ok(JsonStr { raw: &self.text[start..self.at - 1], escaped })
    }

    /// Passes over a string, and says whether it holds escapes.
    #[inline]
    fn string_end(&mut self, expected: Expected) -> Result<bool, JsonError> {
        self.expect(b'"', expected)?;
        let mut escaped = false;
        loop {
            self.at += plain_run(&self.text.as_bytes()[self.at..]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return self.fail(Expected::NoControl),
                Some(_) => self.at += 1,
                None => return self.fail(Expected::StringEnd),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let start = self.at - 1;
                let whole = JsonError { at: span(start, start).start, expected: Expected::NoLoneSurrogate };
                match self.hex_escape()? {
                    0xDC00..=0xDFFF => Err(whole),
                    0xD800..=0xDBFF if !self.text[self.at..].starts_with("\\u") => Err(whole),
                    0xD800..=0xDBFF => {
                        self.at += 1;
                        let low = self.hex_escape()?;
                        if (0xDC00..=0xDFFF).contains(&low) { Ok(()) } else { Err(whole) }
                    }
                    _ => Ok(()),
                }
            }
            _ => self.fail(Expected::Escape),
        }
    }

    /// Stands at the `u`.
    fn hex_escape(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            self.at += 1;
            let Some(digit) = self.byte().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.fail(Expected::Hex);
            };
            unit = unit << 4 | digit;
        }
        self.at += 1;
        Ok(unit)
    }

    #[inline]
    fn number_here(&mut self) -> Result<(), JsonError> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(Expected::Digit)?,
            _ => return self.fail(Expected::Digit),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits(Expected::Fraction)?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits(Expected::Exponent)?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self, expected: Expected) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fail(expected) } else { Ok(()) }
    }

    fn literal(&mut self, word: &str, expected: Expected) -> Result<(), JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail(expected)
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, expected: Expected) -> Result<(), JsonError> {
        if self.byte() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.fail(expected)
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn fail<T>(&self, expected: Expected) -> Result<T, JsonError> {
        Err(JsonError { at: span(self.at, self.at).start, expected })
    }
}

/// A span of text that [`Cursor::new`] let pass.
pub fn span(start: usize, end: usize) -> Span {
    let offset = |at: usize| u32::try_from(at).expect("texts of a cursor are shorter than 2^32 bytes");
    Span { start: offset(start), end: offset(end) }
}

/// How many bytes go by before a quote, a backslash or a control character, eight at a time; may stop early within
/// the last seven.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    /// The high bit of every zero byte; above the first zero byte there may be more.
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = control | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
}

/// Decodes a string that a cursor has passed over.
fn unescape(raw: &str) -> String {
    serde_json::from_str(&format!("\"{raw}\"")).expect("a cursor has checked every escape of this string")
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
