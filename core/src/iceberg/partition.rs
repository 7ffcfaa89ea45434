//! Partition specs and partition values (specification: "Partitioning"; appendix A for their Avro types).
//!
//! DoLake's own files are unpartitioned for now; manifests of partitioned tables are read and merged as they are.

use std::fmt::Write as _;

use apache_avro::types::Value;
use serde::{Deserialize, Serialize};

use super::avro::Encoder;
use super::schema::{Field, Primitive, Schema, Type};

/// How rows become partitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "SpecJson")]
pub struct PartitionSpec {
    /// Unique in its table.
    pub spec_id: i32,
    /// None: the table is not partitioned.
    pub fields: Vec<PartitionField>,
}

/// One value of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionField {
    /// The column it is made from. `None` for a transform of several columns (version 3).
    pub source_id: Option<i32>,
    /// Unique in its table; 1,000 and up.
    pub field_id: i32,
    /// Its name, such as `day`.
    pub name: String,
    /// `identity`, `bucket[16]`, `truncate[4]`, `year`, `month`, `day`, `hour`, `void`.
    pub transform: String,
}

/// As it may stand in version 1, where field ids can be absent and then count from 1,000.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SpecJson {
    #[serde(default)]
    spec_id: i32,
    fields: Vec<FieldJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FieldJson {
    source_id: Option<i32>,
    field_id: Option<i32>,
    name: String,
    transform: String,
}

impl From<SpecJson> for PartitionSpec {
    fn from(json: SpecJson) -> PartitionSpec {
        let field = |(id, f): (i32, FieldJson)| PartitionField {
            source_id: f.source_id,
            field_id: f.field_id.unwrap_or(id),
            name: f.name,
            transform: f.transform,
        };
        PartitionSpec { spec_id: json.spec_id, fields: (1_000..).zip(json.fields).map(field).collect() }
    }
}

/// A partition value as it stands in a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// boolean
    Boolean(bool),
    /// int, date, and the results of bucket, year, month, day and hour
    Int(i32),
    /// long, time, timestamp, timestamptz
    Long(i64),
    /// float
    Float(f32),
    /// double
    Double(f64),
    /// string
    String(String),
    /// binary
    Bytes(Vec<u8>),
    /// uuid, fixed, and decimal as big-endian two's complement of the fixed length that its precision needs
    Fixed(Vec<u8>),
}

/// Why no manifest can be written for a partition spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition field {name:?}: {problem}")]
pub struct PartitionError {
    /// The field.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl PartitionSpec {
    /// The types of this spec's values. `schema` must have the source columns.
    ///
    /// # Errors
    /// When a source column is not in the schema or is no primitive, or the transform is not known.
    pub fn types(&self, schema: &Schema) -> Result<Vec<Primitive>, PartitionError> {
        self.fields.iter().map(|field| field.result_type(schema)).collect()
    }

    /// The Avro record of partition values of these types.
    pub(super) fn avro_type(&self, types: &[Primitive]) -> String {
        let mut fields = String::new();
        for (field, primitive) in self.fields.iter().zip(types) {
            let separator = if fields.is_empty() { "" } else { "," };
            let (name, id) = (avro_name(&field.name), field.field_id);
            let value = avro_primitive(*primitive, id);
            write!(fields, r#"{separator}{{"name":"{name}","type":["null",{value}],"default":null,"field-id":{id}}}"#)
                .expect("a string takes everything");
        }
        format!(r#"{{"type":"record","name":"r102","fields":[{fields}]}}"#)
    }
}

impl Literal {
    /// Writes the value as `primitive`, into which its column may have been widened since. False: it does not fit.
    pub(super) fn encode(&self, primitive: Primitive, out: &mut Encoder) -> bool {
        match (self, primitive) {
            (Literal::Boolean(value), Primitive::Boolean) => out.boolean(*value),
            (Literal::Int(value), Primitive::Int | Primitive::Long | Primitive::Date) => out.long(i64::from(*value)),
            (
                Literal::Long(value),
                Primitive::Long | Primitive::Time | Primitive::Timestamp | Primitive::Timestamptz,
            ) => out.long(*value),
            (Literal::Float(value), Primitive::Float) => out.fixed(&value.to_le_bytes()),
            (Literal::Float(value), Primitive::Double) => out.fixed(&f64::from(*value).to_le_bytes()),
            (Literal::Double(value), Primitive::Double) => out.fixed(&value.to_le_bytes()),
            (Literal::String(value), Primitive::String) => out.string(value),
            (Literal::Bytes(value), Primitive::Binary) => out.bytes(value),
            (Literal::Fixed(value), Primitive::Uuid) if value.len() == 16 => out.fixed(value),
            (Literal::Fixed(value), Primitive::Fixed(length)) if value.len() as u64 == length => out.fixed(value),
            (Literal::Fixed(value), Primitive::Decimal { precision, .. })
                if value.len() <= decimal_bytes(precision) =>
            {
                let sign = if value.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                out.fixed(&vec![sign; decimal_bytes(precision) - value.len()]);
                out.fixed(value);
            }
            _ => return false,
        }
        true
    }

    /// Reads a value as the Avro library decodes it.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is the library's; a value of any other kind is refused"
    )]
    pub(super) fn decode(value: Value) -> Option<Literal> {
        Some(match value {
            Value::Boolean(value) => Literal::Boolean(value),
            Value::Int(value) | Value::Date(value) => Literal::Int(value),
            Value::Long(value)
            | Value::TimeMicros(value)
            | Value::TimestampMicros(value)
            | Value::LocalTimestampMicros(value)
            | Value::TimestampNanos(value)
            | Value::LocalTimestampNanos(value) => Literal::Long(value),
            Value::Float(value) => Literal::Float(value),
            Value::Double(value) => Literal::Double(value),
            Value::String(value) => Literal::String(value),
            Value::Bytes(value) => Literal::Bytes(value),
            Value::Fixed(_, value) => Literal::Fixed(value),
            Value::Uuid(value) => Literal::Fixed(value.as_bytes().to_vec()),
            Value::Decimal(value) => Literal::Fixed(Vec::try_from(value).ok()?),
            _ => return None,
        })
    }
}

impl PartitionField {
    /// The type of the field's values.
    fn result_type(&self, schema: &Schema) -> Result<Primitive, PartitionError> {
        let fail = |problem: String| PartitionError { name: self.name.clone(), problem };
        let transform = self.transform.split('[').next().unwrap_or_default();
        match transform {
            "bucket" | "year" | "month" | "hour" => return Ok(Primitive::Int),
            "day" => return Ok(Primitive::Date),
            "identity" | "truncate" | "void" => {}
            other => return Err(fail(format!("expected a transform of format version 2, got {other:?}"))),
        }
        let source = self.source_id.and_then(|id| schema.find(id));
        match source.map(|field: &Field| &field.field_type) {
            Some(Type::Primitive(primitive)) => Ok(*primitive),
            Some(Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Other(_)) => {
                Err(fail("expected a source column of a primitive type".to_owned()))
            }
            None => Err(fail(format!("its source column {:?} is not in schema {}", self.source_id, schema.schema_id))),
        }
    }
}

/// The Avro type of a primitive; `id` makes the names of fixed types unique.
fn avro_primitive(primitive: Primitive, id: i32) -> String {
    let logical = |base: &str, rest: &str| format!(r#"{{"type":"{base}","logicalType":{rest}}}"#);
    match primitive {
        Primitive::Boolean => r#""boolean""#.to_owned(),
        Primitive::Int => r#""int""#.to_owned(),
        Primitive::Long => r#""long""#.to_owned(),
        Primitive::Float => r#""float""#.to_owned(),
        Primitive::Double => r#""double""#.to_owned(),
        Primitive::String => r#""string""#.to_owned(),
        Primitive::Binary => r#""bytes""#.to_owned(),
        Primitive::Date => logical("int", r#""date""#),
        Primitive::Time => logical("long", r#""time-micros""#),
        Primitive::Timestamp => logical("long", r#""timestamp-micros","adjust-to-utc":false"#),
        Primitive::Timestamptz => logical("long", r#""timestamp-micros","adjust-to-utc":true"#),
        Primitive::Uuid => {
            format!(r#"{{"type":"fixed","size":16,"name":"uuid_fixed_{id}","logicalType":"uuid"}}"#)
        }
        Primitive::Fixed(length) => format!(r#"{{"type":"fixed","size":{length},"name":"fixed_{id}"}}"#),
        Primitive::Decimal { precision, scale } => format!(
            r#"{{"type":"fixed","size":{},"logicalType":"decimal","precision":{precision},"scale":{scale},"name":"decimal_{id}"}}"#,
            decimal_bytes(precision)
        ),
    }
}

/// Bytes that hold every decimal of `precision` digits (specification: appendix A, "decimal(P,S)").
pub(super) fn decimal_bytes(precision: u32) -> usize {
    let largest = 10_u128.checked_pow(precision).map_or(u128::MAX, |power| power - 1);
    let bits = 128 - largest.leading_zeros() + 1;
    bits.div_ceil(8) as usize
}

/// A name that Avro takes, made as Iceberg's own writer makes it.
fn avro_name(name: &str) -> String {
    let mut out = String::new();
    for (n, c) in name.chars().enumerate() {
        match c {
            'a'..='z' | 'A'..='Z' | '_' => out.push(c),
            '0'..='9' if n > 0 => out.push(c),
            '0'..='9' => out.extend(['_', c]),
            other => write!(out, "_x{:X}", u32::from(other)).expect("a string takes everything"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_takes_the_bytes_that_its_digits_need() {
        for (precision, bytes) in [(1, 1), (2, 1), (3, 2), (9, 4), (10, 5), (18, 8), (19, 9), (38, 16)] {
            assert_eq!(decimal_bytes(precision), bytes, "{precision} digits");
        }
    }

    #[test]
    fn names_become_what_avro_takes() {
        for (name, avro) in [("day", "day"), ("9a", "_9a"), ("a.b", "a_x2Eb"), ("ü", "_xFC"), ("a9", "a9")] {
            assert_eq!(avro_name(name), avro);
        }
    }

    #[test]
    fn version_1_specs_number_their_fields_themselves() {
        let spec: PartitionSpec = serde_json::from_str(
            r#"{"spec-id":0,"fields":[{"source-id":1,"name":"a","transform":"day"},{"source-id":2,"name":"b","transform":"void"}]}"#,
        )
        .expect("a spec");
        assert_eq!(spec.fields.iter().map(|f| f.field_id).collect::<Vec<_>>(), [1_000, 1_001]);
    }
}
