//! What is wrong with text that should be JSON: the place, and what would have fitted there.

/// Text that is not JSON, or not the JSON that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at byte {at}: expected {expected}")]
pub struct JsonError {
    /// Offset of the first byte that does not fit.
    pub at: u32,
    /// What would have fitted.
    pub expected: Expected,
}

/// What would have been valid JSON. Small, so that results of a [`Cursor`](crate::wire::json::Cursor) travel in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any value.
    Value,
    /// The start of an object.
    Object,
    /// The start of an array.
    Array,
    /// A key of an object.
    Key,
    /// What stands between a key and its value.
    Colon,
    /// The next member of an object, or its end.
    CommaOrBrace,
    /// The next element of an array, or its end.
    CommaOrBracket,
    /// A string.
    String,
    /// The end of a string.
    StringEnd,
    /// An escape in its place.
    NoControl,
    /// One of the escapes of RFC 8259.
    Escape,
    /// A whole `\\u` escape.
    Hex,
    /// Both halves of a surrogate pair: no UTF-8 text can hold one of them alone.
    NoLoneSurrogate,
    /// A digit of a number.
    Digit,
    /// A digit behind the point.
    Fraction,
    /// A digit of the exponent.
    Exponent,
    /// The word.
    True,
    /// The word.
    False,
    /// The word.
    Null,
    /// Fewer levels.
    ShallowNesting,
    /// Nothing more.
    End,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Expected::Value => "a value",
            Expected::Object => "'{'",
            Expected::Array => "'['",
            Expected::Key => "a key in quotes",
            Expected::Colon => "':'",
            Expected::CommaOrBrace => "',' or '}'",
            Expected::CommaOrBracket => "',' or ']'",
            Expected::String => "a string",
            Expected::StringEnd => "'\"' at the end of the string",
            Expected::NoControl => "no control character in a string",
            Expected::Escape => "an escape that JSON has",
            Expected::Hex => "four hexadecimal digits after '\\u'",
            Expected::NoLoneSurrogate => "no lone surrogate",
            Expected::Digit => "a digit",
            Expected::Fraction => "a digit after the point",
            Expected::Exponent => "a digit of the exponent",
            Expected::True => "true",
            Expected::False => "false",
            Expected::Null => "null",
            Expected::ShallowNesting => "at most 64 levels of nesting",
            Expected::End => "the end of the text",
        })
    }
}
