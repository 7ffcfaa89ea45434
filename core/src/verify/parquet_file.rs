//! The inside of a Parquet data file against what its manifest says: rows, counts, sizes, and bounds of every value.
//!
//! Reads column by column through Parquet's own levels, not through the columns that the writer builds.

use std::cmp::Ordering;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::Findings;
use super::rules::nodes;
use crate::iceberg::data_file::{ColumnMetrics, DataFile};
use crate::iceberg::metadata::TableMetadata;
use crate::iceberg::schema::Primitive;

const RECORDS_AT_ONCE: usize = 8_192;

/// Checks one file, whose size is known to be right.
pub(super) fn check(file: &DataFile, contents: &Bytes, metadata: &TableMetadata, findings: &mut Findings) {
    if let Err(error) = check_all(file, contents, metadata, findings) {
        findings.add(&file.file_path, format!("expected a Parquet file: {error}"));
    }
}

fn check_all(
    file: &DataFile,
    contents: &Bytes,
    metadata: &TableMetadata,
    findings: &mut Findings,
) -> Result<(), ParquetError> {
    let location = &file.file_path;
    let reader = SerializedFileReader::new(contents.clone())?;
    let footer = reader.metadata();
    let rows: i64 = footer.row_groups().iter().map(RowGroupMetaData::num_rows).sum();
    let said = file.metrics.record_count;
    findings.expect(u64::try_from(rows) == Ok(said), location, || format!("expected {said} rows, got {rows}"));
    split_offsets(file, footer.num_row_groups(), findings);

    let schema = footer.file_metadata().schema_descr_ptr();
    let mut ids = Vec::new();
    for (n, column) in schema.columns().iter().enumerate() {
        let name = column.path().string();
        let info = column.self_type().get_basic_info();
        if !info.has_id() {
            findings.push(location, Some(&name), None, "expected a field id, got none".to_owned());
            continue;
        }
        ids.push(info.id());
        known(info.id(), column, metadata, location, findings);
        let metrics = file.metrics.columns.get(&info.id());
        let mut found = Found::new(column, metrics, &name, location, findings);
        for group in 0..footer.num_row_groups() {
            let group = reader.get_row_group(group)?;
            found.read(group.get_column_reader(n)?, column, findings)?;
            found.bytes += u64::try_from(group.metadata().column(n).compressed_size()).unwrap_or(0);
        }
        found.compare(metrics, column, findings);
    }
    for id in file.metrics.columns.keys().filter(|id| !ids.contains(id)) {
        findings.add(location, format!("the manifest has metrics of field {id}, but the file has no such column"));
    }
    Ok(())
}

fn split_offsets(file: &DataFile, row_groups: usize, findings: &mut Findings) {
    let offsets = &file.metrics.split_offsets;
    let inside = offsets.iter().all(|offset| u64::try_from(*offset).is_ok_and(|offset| offset < file.file_size_bytes));
    let rises = offsets.is_sorted_by(|before, after| before < after);
    findings.expect(inside && rises && offsets.len() <= row_groups, &file.file_path, || {
        format!("expected at most {row_groups} split offsets that rise and lie in the file, got {offsets:?}")
    });
}

/// Checks that some schema of the table has this field, with a type that the column can hold.
fn known(id: i32, column: &ColumnDescriptor, metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    let schemas = metadata.schemas.iter().rev();
    let types: Vec<Option<Primitive>> =
        schemas.flat_map(|schema| nodes(schema)).filter(|node| node.id == id).map(|node| node.primitive).collect();
    let name = column.path().string();
    if types.is_empty() {
        findings.push(location, Some(&name), None, format!("no schema of the table has its field id {id}"));
    } else if !types.iter().any(|primitive| primitive.is_none_or(|p| holds(column.physical_type(), p))) {
        let what = format!("field {id}: expected what holds {types:?}, got {}", column.physical_type());
        findings.push(location, Some(&name), None, what);
    }
}

/// Whether a column of this physical type can hold values of the primitive (specification: appendix A, "Parquet").
fn holds(physical: Physical, primitive: Primitive) -> bool {
    match primitive {
        Primitive::Boolean => physical == Physical::BOOLEAN,
        Primitive::Int | Primitive::Date => physical == Physical::INT32,
        Primitive::Long => matches!(physical, Physical::INT64 | Physical::INT32),
        Primitive::Time | Primitive::Timestamp | Primitive::Timestamptz => physical == Physical::INT64,
        Primitive::Float => physical == Physical::FLOAT,
        Primitive::Double => matches!(physical, Physical::DOUBLE | Physical::FLOAT),
        Primitive::Decimal { .. } => {
            matches!(
                physical,
                Physical::INT32 | Physical::INT64 | Physical::FIXED_LEN_BYTE_ARRAY | Physical::BYTE_ARRAY
            )
        }
        Primitive::String | Primitive::Binary => physical == Physical::BYTE_ARRAY,
        Primitive::Uuid | Primitive::Fixed(_) => physical == Physical::FIXED_LEN_BYTE_ARRAY,
    }
}

/// A value or a bound, comparable as Iceberg orders it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Scalar {
    Boolean(bool),
    /// Whole numbers, times, and the digits of a decimal.
    Integer(i128),
    Float(f64),
    Bytes(Vec<u8>),
}

/// How the bytes of a bound are read (specification: appendix D, "Single-value serialization").
#[derive(Debug, Clone, Copy)]
enum Kind {
    Boolean,
    Integer,
    Float,
    Decimal,
    Bytes,
}

impl Kind {
    fn of(column: &ColumnDescriptor) -> Kind {
        let decimal = matches!(column.logical_type_ref(), Some(LogicalType::Decimal { .. }))
            || column.converted_type() == ConvertedType::DECIMAL;
        match column.physical_type() {
            _ if decimal => Kind::Decimal,
            Physical::BOOLEAN => Kind::Boolean,
            Physical::INT32 | Physical::INT64 | Physical::INT96 => Kind::Integer,
            Physical::FLOAT | Physical::DOUBLE => Kind::Float,
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => Kind::Bytes,
        }
    }

    fn bound(self, bytes: &[u8]) -> Option<Scalar> {
        Some(match (self, bytes) {
            (Kind::Boolean, [byte]) => Scalar::Boolean(*byte != 0),
            (Kind::Integer, [_, _, _, _]) => Scalar::Integer(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            (Kind::Integer, _) => Scalar::Integer(i64::from_le_bytes(bytes.try_into().ok()?).into()),
            (Kind::Float, [_, _, _, _]) => Scalar::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            (Kind::Float, _) => Scalar::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            (Kind::Decimal, _) => Scalar::Integer(big_endian(bytes)?),
            (Kind::Bytes, _) => Scalar::Bytes(bytes.to_vec()),
            (Kind::Boolean, _) => return None,
        })
    }

    /// Bytes of a column as a value.
    fn value(self, bytes: &[u8]) -> Option<Scalar> {
        match self {
            Kind::Decimal => big_endian(bytes).map(Scalar::Integer),
            Kind::Boolean | Kind::Integer | Kind::Float | Kind::Bytes => Some(Scalar::Bytes(bytes.to_vec())),
        }
    }
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    if bytes.is_empty() || bytes.len() > 16 {
        return None;
    }
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    Some(bytes.iter().fold(sign, |sum: i128, byte| (sum << 8) | i128::from(*byte)))
}

/// What the data of one column say.
struct Found<'a> {
    name: &'a str,
    location: &'a str,
    kind: Kind,
    lower: Option<Scalar>,
    upper: Option<Scalar>,
    /// Values, nulls included.
    values: u64,
    nulls: u64,
    nans: u64,
    bytes: u64,
    rows: u64,
    /// One breach of a bound is enough for a column.
    breached: bool,
}

impl<'a> Found<'a> {
    fn new(
        column: &ColumnDescriptor,
        metrics: Option<&ColumnMetrics>,
        name: &'a str,
        location: &'a str,
        findings: &mut Findings,
    ) -> Found<'a> {
        let kind = Kind::of(column);
        let mut bound = |bytes: Option<&Vec<u8>>, side: &str| {
            let bytes = bytes?;
            let scalar = kind.bound(bytes);
            if scalar.is_none() {
                let what = format!("expected a {side} bound that can be read as {kind:?}, got {bytes:?}");
                findings.push(location, Some(name), None, what);
            }
            scalar
        };
        let lower = bound(metrics.and_then(|metrics| metrics.lower_bound.as_ref()), "lower");
        let upper = bound(metrics.and_then(|metrics| metrics.upper_bound.as_ref()), "upper");
        Found { name, location, kind, lower, upper, values: 0, nulls: 0, nans: 0, bytes: 0, rows: 0, breached: false }
    }

    /// Reads the column in one row group.
    fn read(
        &mut self,
        reader: ColumnReader,
        column: &ColumnDescriptor,
        findings: &mut Findings,
    ) -> Result<(), ParquetError> {
        let kind = self.kind;
        match reader {
            ColumnReader::BoolColumnReader(r) => self.scan(r, column, |v| Some(Scalar::Boolean(*v)), findings),
            ColumnReader::Int32ColumnReader(r) => {
                self.scan(r, column, |v| Some(Scalar::Integer((*v).into())), findings)
            }
            ColumnReader::Int64ColumnReader(r) => {
                self.scan(r, column, |v| Some(Scalar::Integer((*v).into())), findings)
            }
            ColumnReader::Int96ColumnReader(r) => self.scan(r, column, |_| None, findings),
            ColumnReader::FloatColumnReader(r) => self.scan(r, column, |v| Some(Scalar::Float((*v).into())), findings),
            ColumnReader::DoubleColumnReader(r) => self.scan(r, column, |v| Some(Scalar::Float(*v)), findings),
            ColumnReader::ByteArrayColumnReader(r) => self.scan(r, column, |v| kind.value(v.data()), findings),
            ColumnReader::FixedLenByteArrayColumnReader(r) => self.scan(r, column, |v| kind.value(v.data()), findings),
        }
    }

    fn scan<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        column: &ColumnDescriptor,
        scalar: impl Fn(&T::T) -> Option<Scalar>,
        findings: &mut Findings,
    ) -> Result<(), ParquetError> {
        let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            defined.clear();
            repeated.clear();
            values.clear();
            let (records, _, levels) =
                reader.read_records(RECORDS_AT_ONCE, Some(&mut defined), Some(&mut repeated), &mut values)?;
            if records == 0 && levels == 0 {
                return Ok(());
            }
            let mut present = values.iter();
            for level in 0..levels {
                if repeated.get(level).is_none_or(|level| *level == 0) {
                    self.rows += 1;
                }
                self.values += 1;
                if defined.get(level).is_some_and(|level| *level < column.max_def_level()) {
                    self.nulls += 1;
                } else if let Some(value) = present.next() {
                    self.value(scalar(value), findings);
                }
            }
        }
    }

    fn value(&mut self, value: Option<Scalar>, findings: &mut Findings) {
        let row = Some(self.rows.saturating_sub(1));
        let Some(value) = value else {
            return findings.push(self.location, Some(self.name), row, format!("expected a value of {:?}", self.kind));
        };
        if matches!(value, Scalar::Float(float) if float.is_nan()) {
            self.nans += 1;
            return;
        }
        let is = |bound: &Option<Scalar>, not: Ordering| {
            bound.as_ref().is_none_or(|bound| value.partial_cmp(bound).is_some_and(|order| order != not))
        };
        let (low, high) = (is(&self.lower, Ordering::Less), is(&self.upper, Ordering::Greater));
        if (low && high) || self.breached {
            return;
        }
        self.breached = true;
        let (side, bound) = if low { ("at most the upper", &self.upper) } else { ("at least the lower", &self.lower) };
        let what = format!("expected {side} bound {}, got {}", shown(bound.as_ref()), shown(Some(&value)));
        findings.push(self.location, Some(self.name), row, what);
    }

    /// Compares the counts with what the manifest says.
    fn compare(&self, metrics: Option<&ColumnMetrics>, column: &ColumnDescriptor, findings: &mut Findings) {
        let Some(metrics) = metrics else { return };
        let size = (metrics.size_bytes > 0).then_some(metrics.size_bytes);
        // Writers do not agree on what a value in a list is; only plain columns are held to their counts.
        let plain = column.max_rep_level() == 0;
        let counts = [
            (size, self.bytes, "compressed bytes"),
            (metrics.value_count.filter(|_| plain), self.values, "values"),
            (metrics.null_count.filter(|_| plain), self.nulls, "nulls"),
            (metrics.nan_count, self.nans, "NaNs"),
        ];
        for (said, found, what) in counts {
            if let Some(said) = said.filter(|said| *said != found) {
                findings.push(self.location, Some(self.name), None, format!("expected {said} {what}, got {found}"));
            }
        }
    }
}

/// A value for people: strings as text, and not longer than a line.
fn shown(scalar: Option<&Scalar>) -> String {
    match scalar {
        None => "none".to_owned(),
        Some(Scalar::Boolean(value)) => value.to_string(),
        Some(Scalar::Integer(value)) => value.to_string(),
        Some(Scalar::Float(value)) => value.to_string(),
        Some(Scalar::Bytes(bytes)) => String::from_utf8_lossy(bytes).chars().take(64).collect(),
    }
}
