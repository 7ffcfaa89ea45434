//! What a manifest says of a data file, from the file's own footer (specification: "Manifests", `data_file`).
//!
//! Bounds are in Iceberg's single-value serialization (specification: Appendix D), strings cut to 16 characters. A
//! bound that the footer does not know is left out. Columns below a list have a size only, as in Iceberg's own writers.

use std::collections::BTreeMap;

use parquet::basic::{LogicalType, Type as Physical};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

use crate::iceberg::data_file::{ColumnMetrics, Metrics};

/// Characters of a string that a bound keeps (Iceberg's `truncate(16)`, the default of its writers).
const BOUND_CHARACTERS: usize = 16;

pub(super) fn metrics_of(footer: &ParquetMetaData) -> Metrics {
    let mut columns = BTreeMap::<i32, ColumnMetrics>::new();
    for (leaf, column) in footer.file_metadata().schema_descr().columns().iter().enumerate() {
        let id = column.self_type().get_basic_info().id();
        let chunks: Vec<_> = footer.row_groups().iter().map(|group| group.column(leaf)).collect();
        columns.insert(id, column_metrics(column, &chunks));
    }
    Metrics {
        record_count: footer.row_groups().iter().map(|group| group.num_rows().unsigned_abs()).sum(),
        split_offsets: footer.row_groups().iter().map(|group| start_of(group.column(0))).collect(),
        columns,
    }
}

/// Offset of a column's first page.
fn start_of(chunk: &ColumnChunkMetaData) -> i64 {
    chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset())
}

fn column_metrics(column: &ColumnDescriptor, chunks: &[&ColumnChunkMetaData]) -> ColumnMetrics {
    let size_bytes = chunks.iter().map(|chunk| chunk.compressed_size().unsigned_abs()).sum();
    if column.max_rep_level() > 0 {
        return ColumnMetrics { size_bytes, ..ColumnMetrics::default() };
    }
    let statistics: Option<Vec<&Statistics>> = chunks.iter().map(|chunk| chunk.statistics()).collect();
    let null_counts = statistics.iter().flatten().map(|chunk| chunk.null_count_opt()).collect::<Option<Vec<u64>>>();
    let (lower_bound, upper_bound) = statistics.as_ref().map_or((None, None), |chunks| bounds(column, chunks));
    let is_float = matches!(column.physical_type(), Physical::FLOAT | Physical::DOUBLE);
    ColumnMetrics {
        size_bytes,
        value_count: Some(chunks.iter().map(|chunk| chunk.num_values().unsigned_abs()).sum()),
        null_count: statistics
            .as_ref()
            .and(null_counts)
            .map(|counts| counts.iter().sum::<u64>() + u64::from(mutant!(NullsMiscounted))),
        // JSON has no NaN.
        nan_count: is_float.then_some(0),
        lower_bound,
        upper_bound,
    }
}

/// Bounds over all row groups; those with nulls only have none and do not count.
fn bounds(column: &ColumnDescriptor, chunks: &[&Statistics]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let mut all: Option<(Bound, Bound)> = None;
    for chunk in chunks {
        match (bounds_of_chunk(chunk), &mut all) {
            (Some((min, max)), Some((lower, upper))) => {
                if min.is_below(lower) {
                    *lower = min;
                }
                if upper.is_below(&max) {
                    *upper = max;
                }
            }
            (Some(bounds), None) => all = Some(bounds),
            (None, _) if chunk.min_bytes_opt().is_some() || chunk.max_bytes_opt().is_some() => return (None, None),
            (None, _) => {}
        }
    }
    all.map_or((None, None), |(lower, upper)| {
        (lower.serialize(column, truncate_down), upper.serialize(column, truncate_up))
    })
}

/// A smallest or largest value.
#[derive(Debug, Clone)]
enum Bound {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// Strings compare by bytes, which is the order of their characters.
    Bytes(Vec<u8>),
    /// Unscaled value of a decimal.
    Decimal(i128),
}

fn bounds_of_chunk(statistics: &Statistics) -> Option<(Bound, Bound)> {
    Some(match statistics {
        Statistics::Boolean(values) => (Bound::Boolean(*values.min_opt()?), Bound::Boolean(*values.max_opt()?)),
        Statistics::Int32(values) => (Bound::Int(*values.min_opt()?), Bound::Int(*values.max_opt()?)),
        Statistics::Int64(values) => (Bound::Long(*values.min_opt()?), Bound::Long(*values.max_opt()?)),
        Statistics::Float(values) => (Bound::Float(*values.min_opt()?), Bound::Float(*values.max_opt()?)),
        Statistics::Double(values) => (Bound::Double(*values.min_opt()?), Bound::Double(*values.max_opt()?)),
        Statistics::ByteArray(values) => {
            (Bound::Bytes(values.min_opt()?.data().to_vec()), Bound::Bytes(values.max_opt()?.data().to_vec()))
        }
        Statistics::FixedLenByteArray(values) => {
            (Bound::Decimal(unscaled(values.min_opt()?.data())?), Bound::Decimal(unscaled(values.max_opt()?.data())?))
        }
        Statistics::Int96(_) => return None,
    })
}

/// Big-endian two's complement of at most 16 bytes.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let sign = if *bytes.first()? >= 0x80 { -1 } else { 0 };
    (bytes.len() <= 16).then(|| bytes.iter().fold(sign, |value, &byte| value << 8 | i128::from(byte)))
}

impl Bound {
    /// Both are of one column, so of one kind.
    fn is_below(&self, other: &Bound) -> bool {
        match (self, other) {
            (Bound::Boolean(a), Bound::Boolean(b)) => a < b,
            (Bound::Int(a), Bound::Int(b)) => a < b,
            (Bound::Long(a), Bound::Long(b)) => a < b,
            (Bound::Float(a), Bound::Float(b)) => a.total_cmp(b).is_lt(),
            (Bound::Double(a), Bound::Double(b)) => a.total_cmp(b).is_lt(),
            (Bound::Bytes(a), Bound::Bytes(b)) => a < b,
            (Bound::Decimal(a), Bound::Decimal(b)) => a < b,
            _ => panic!("bounds of one column are of two kinds: {self:?}, {other:?}"),
        }
    }

    fn serialize(self, column: &ColumnDescriptor, truncate: fn(&str) -> Option<String>) -> Option<Vec<u8>> {
        let is_decimal = matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)));
        match self {
            Bound::Boolean(value) => Some(vec![u8::from(value)]),
            Bound::Int(value) if is_decimal => Some(minimal(i128::from(value))),
            Bound::Long(value) if is_decimal => Some(minimal(i128::from(value))),
            Bound::Decimal(value) => is_decimal.then(|| minimal(value)),
            Bound::Int(value) => Some(value.to_le_bytes().to_vec()),
            Bound::Long(value) => Some(value.to_le_bytes().to_vec()),
            Bound::Float(value) => Some(value.to_le_bytes().to_vec()),
            Bound::Double(value) => Some(value.to_le_bytes().to_vec()),
            Bound::Bytes(value) => truncate(std::str::from_utf8(&value).ok()?).map(String::into_bytes),
        }
    }
}

/// Big-endian two's complement with no byte too many.
fn minimal(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xFF } else { 0x00 };
    let spare = (0..15).take_while(|&at| bytes[at] == sign && (bytes[at + 1] ^ sign) < 0x80).count();
    bytes[spare..].to_vec()
}

/// The first characters: at or below the whole.
fn truncate_down(value: &str) -> Option<String> {
    Some(value.chars().take(BOUND_CHARACTERS).collect())
}

/// The first characters, the last of them raised if some were cut off: at or above the whole. `None` if that cannot be.
fn truncate_up(value: &str) -> Option<String> {
    let mut kept: Vec<char> = value.chars().take(BOUND_CHARACTERS).collect();
    if value.chars().nth(BOUND_CHARACTERS).is_none() || mutant!(BoundCutShort) {
        return Some(kept.into_iter().collect());
    }
    while let Some(last) = kept.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_bounds_keep_sixteen_characters_and_stay_bounds() {
        let check = |value: &str, lower: &str, upper: Option<&str>| {
            assert_eq!(truncate_down(value).as_deref(), Some(lower), "{value}");
            assert_eq!(truncate_up(value).as_deref(), upper, "{value}");
        };
        check("", "", Some(""));
        check("0123456789abcdef", "0123456789abcdef", Some("0123456789abcdef"));
        check("0123456789abcdefg", "0123456789abcdef", Some("0123456789abcdeg"));
        check("0123456789abcdé\u{D7FF}x", "0123456789abcdé\u{D7FF}", Some("0123456789abcdé\u{E000}"));
        let top = char::MAX.to_string();
        check(&format!("a{}", top.repeat(16)), &format!("a{}", top.repeat(15)), Some("b"));
        check(&top.repeat(17), &top.repeat(16), None);
    }

    #[test]
    fn decimals_are_as_short_as_can_be() {
        let check = |value: i128, bytes: &[u8]| {
            assert_eq!(minimal(value), bytes, "{value}");
            assert_eq!(unscaled(bytes), Some(value));
            assert_eq!(unscaled(&value.to_be_bytes()), Some(value));
        };
        check(0, &[0]);
        check(127, &[0x7F]);
        check(128, &[0x00, 0x80]);
        check(-1, &[0xFF]);
        check(-128, &[0x80]);
        check(-129, &[0xFF, 0x7F]);
        check(i128::MIN, &i128::MIN.to_be_bytes());
    }
}
