//! JSON numbers as Iceberg values, without ever losing a digit silently.
//!
//! All functions take the text of a valid JSON number. Exactness is judged by value, not by spelling: `1.50` is the
//! double 1.5, `1e2` is the double 100.

/// What an integer or fraction needs as its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An integer of at most 64 bits.
    Long(i64),
    /// A longer integer.
    BigInteger,
    /// A number spelled with a point or an exponent.
    Fraction,
}

pub(super) fn classify(text: &str) -> Class {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        text.parse().map_or(Class::BigInteger, Class::Long)
    } else {
        Class::Fraction
    }
}

/// A double and whether printing it gives the number back that it was read from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Double {
    /// The nearest double; infinite if there is none.
    pub(super) value: f64,
    /// Whether the shortest text of `value`, or the one with as many digits, is the same number.
    pub(super) exact: bool,
}

/// Significant digits of the longest texts that are printed back: more than any producer prints, and few enough to be
/// cheap.
const DOUBLE_DIGITS_MAX: usize = 40;

/// Significant digits that every double of normal size gives back.
const SAFE_DIGITS: usize = 15;

const POWERS_OF_TEN: [f64; SAFE_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

pub(super) fn double(text: &str) -> Double {
    if let Some(value) = short_double(text.as_bytes()) {
        return Double { value, exact: true };
    }
    let value: f64 = text.parse().expect("every JSON number is a number to Rust");
    Double { value, exact: value.is_finite() && is_printed_back(value, &Digits::of(text)) }
}

/// Two texts can be the shortest of one double (…48.2 and …48.3 of …48.25): languages differ in which they print.
/// The one that is not Rust's is found by printing as many digits as were given.
fn is_printed_back(value: f64, digits: &Digits) -> bool {
    let is_same = |text: String| Digits::of(&text) == *digits;
    let count = digits.digits.len();
    is_same(format!("{value:e}"))
        || (1..=DOUBLE_DIGITS_MAX).contains(&count) && is_same(format!("{value:.*e}", count - 1))
}

/// Numbers of at most 15 digits and no exponent: digits and power of ten are both exact doubles, so one division gives
/// the nearest double (Clinger's fast path), and that many digits always come back.
fn short_double(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > SAFE_DIGITS + 1 {
        return None;
    }
    let (mut mantissa, mut count, mut point) = (0_u64, 0, None);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                count += 1;
            }
            b'.' => point = Some(count),
            _ => return None,
        }
    }
    if count > SAFE_DIGITS {
        return None;
    }
    let value = mantissa as f64 / POWERS_OF_TEN.get(point.map_or(0, |point| count - point))?;
    Some(if negative { -value } else { value })
}

/// The unscaled value of `decimal(precision, scale)`; `None` if the number does not fit exactly.
pub(super) fn decimal(text: &str, precision: u32, scale: u32) -> Option<i128> {
    let digits = Digits::of(text);
    if digits.digits.is_empty() {
        return Some(0);
    }
    let zeros = usize::try_from(digits.exponent.checked_add(i64::from(scale))?).ok()?;
    if digits.digits.len().checked_add(zeros)? > precision as usize {
        return None;
    }
    let unscaled = digits.digits.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(u32::try_from(zeros).ok()?)?)?;
    Some(if digits.negative { -unscaled } else { unscaled })
}

/// A decimal number in its one normal form: `digits` × 10^`exponent`, no zeros at either end; zero has no digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Digits {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Digits {
    pub(super) fn of(text: &str) -> Digits {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // Exponents beyond 64 bits are equal to one another here: no double and no decimal comes near them.
        let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        if digits.is_empty() {
            return Digits { negative: false, digits: String::new(), exponent: 0 };
        }
        let trimmed = (all.len() - digits.len()) as i64 - fraction.len() as i64;
        Digits {
            negative,
            digits: digits.trim_start_matches('0').to_owned(),
            exponent: exponent.saturating_add(trimmed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_the_smallest_class_that_holds_all_its_digits() {
        let check = |text, expected| assert_eq!(classify(text), expected, "{text}");
        check("0", Class::Long(0));
        check("-0", Class::Long(0));
        check("9223372036854775807", Class::Long(i64::MAX));
        check("-9223372036854775808", Class::Long(i64::MIN));
        check("9223372036854775808", Class::BigInteger);
        check("1.0", Class::Fraction);
        check("1e2", Class::Fraction);
    }

    #[test]
    fn a_double_is_exact_when_its_text_is_the_same_number() {
        let check = |text: &str, exact| {
            let double = double(text);
            assert_eq!(double.value, text.parse::<f64>().unwrap(), "{text}");
            assert_eq!(double.exact, exact, "{text}");
        };
        for text in ["0.1", "1.50", "1e2", "-0.0", "4999.99", "0.1234567890123456", "1.7976931348623157e308", "5e-324"]
        {
            check(text, true);
        }
        for text in ["9007199254740993", "0.12345678901234567890", "1e-400", "1e400", "2.00000000000000000001"] {
            check(text, false);
        }
        let large =
            ["9007199254740992", "1152921504606846976", "1152921504606847000", "100000000000000.0", "0e99999999999"];
        let ties = ["2145682191129848.2", "2145682191129848.3"];
        for text in large.iter().chain(&ties) {
            check(text, true);
        }
    }

    #[test]
    fn short_numbers_become_the_nearest_double() {
        for numerator in 0..20_000_u32 {
            let text = format!("-{}.{:03}", numerator * 7919, numerator % 1000);
            assert_eq!(double(&text), Double { value: text.parse().unwrap(), exact: true });
        }
    }

    #[test]
    fn a_decimal_is_taken_whole_or_not_at_all() {
        let check = |text, precision, scale, expected| assert_eq!(decimal(text, precision, scale), expected, "{text}");
        check("12345678901234567890", 38, 0, Some(12_345_678_901_234_567_890));
        check(
            "-99999999999999999999999999999999999999",
            38,
            0,
            Some(-99_999_999_999_999_999_999_999_999_999_999_999_999),
        );
        check("100000000000000000000000000000000000000", 38, 0, None);
        check("1.5", 38, 0, None);
        check("1.50", 9, 1, Some(15));
        check("1.5e3", 9, 2, Some(150_000));
        check("0.000", 9, 2, Some(0));
        check("1e99999999999999999999", 38, 0, None);
        check("1e-99999999999999999999", 38, 0, None);
        check("1234567.89", 9, 2, Some(123_456_789));
        check("12345678.9", 9, 2, None);
    }
}
