//! Avro object container files (Avro 1.12 specification, "Object Container Files"), for the two records of Iceberg.
//!
//! Writing is by hand: the header must have the same bytes each time and the schema's own text (a library keeps the
//! metadata in a hash map and drops `logicalType: map`), and partition records have fields that no struct can name.
//! Reading is in `container.rs`; here is what finds a record's fields by their Iceberg ids.

#![allow(clippy::wildcard_enum_match_arm, reason = "the enums are the library's; a value of any other kind is refused")]

use apache_avro::schema::{RecordSchema, Schema};
use apache_avro::types::Value;

/// Records before a block is closed, in bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// A container file under construction.
pub(super) struct AvroFile {
    out: Vec<u8>,
    marker: [u8; 16],
    block: Encoder,
    block_records: i64,
}

impl AvroFile {
    /// Starts a file, uncompressed. `schema` is written as it is; `metadata` are further entries of the header.
    pub(super) fn new(schema: &str, metadata: &[(&str, &str)]) -> AvroFile {
        let mut header = Encoder::default();
        header.out.extend_from_slice(b"Obj\x01");
        header.long(metadata.len() as i64 + 2);
        for (key, value) in [("avro.schema", schema), ("avro.codec", "null")].iter().chain(metadata) {
            header.string(key);
            header.string(value);
        }
        header.long(0);
        let marker = xxhash_rust::xxh3::xxh3_128(&header.out).to_be_bytes();
        header.out.extend_from_slice(&marker);
        AvroFile { out: header.out, marker, block: Encoder::default(), block_records: 0 }
    }

    /// Appends one record: `write` must encode exactly the fields of the schema.
    pub(super) fn record(&mut self, write: impl FnOnce(&mut Encoder)) {
        write(&mut self.block);
        self.block_records += 1;
        if self.block.out.len() >= BLOCK_BYTES {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        let mut head = Encoder::default();
        head.long(self.block_records);
        head.long(self.block.out.len() as i64);
        self.out.extend_from_slice(&head.out);
        self.out.append(&mut self.block.out);
        self.out.extend_from_slice(&self.marker);
        self.block_records = 0;
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.block_records > 0 {
            self.close_block();
        }
        self.out
    }
}

/// Values in Avro's binary encoding.
#[derive(Default)]
pub(super) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An `int` or a `long`: they are encoded alike.
    pub(super) fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }

    /// A count or size, which the specification types as `long`.
    pub(super) fn size(&mut self, value: u64) {
        self.long(i64::try_from(value).expect("counts and sizes are far below 2^63"));
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.long(value.len() as i64);
        self.out.extend_from_slice(value);
    }

    pub(super) fn string(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Bytes of a length that the schema tells; also the encoding of `float` and `double`.
    pub(super) fn fixed(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// A union of null and something else.
    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Encoder, T)) {
        self.long(i64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// An array.
    pub(super) fn array<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Encoder, &T)) {
        if !items.is_empty() {
            self.long(items.len() as i64);
            for item in items {
                write(self, item);
            }
        }
        self.long(0);
    }
}

/// The Iceberg ids of a record's fields, in order. A field without an id is looked up in `names`; -1 is none.
pub(super) fn field_ids(record: &RecordSchema, names: &[(&str, i32)]) -> Vec<i32> {
    let id = |field: &apache_avro::schema::RecordField| {
        let own = field.custom_attributes.get("field-id").and_then(serde_json::Value::as_i64);
        own.and_then(|id| i32::try_from(id).ok())
            .or_else(|| names.iter().find(|(name, _)| *name == field.name).map(|(_, id)| *id))
            .unwrap_or(-1)
    };
    record.fields.iter().map(id).collect()
}

/// The record that a schema is, directly or beside null.
pub(super) fn record_of(schema: &Schema) -> Option<&RecordSchema> {
    match schema {
        Schema::Record(record) => Some(record),
        Schema::Union(union) => union.variants().iter().find_map(record_of),
        _ => None,
    }
}

/// The values of a record with the ids of their fields. Nothing if the value is no record.
pub(super) fn fields<'a>(value: Value, ids: &'a [i32]) -> impl Iterator<Item = (i32, Value)> + 'a {
    let fields = match present(value) {
        Some(Value::Record(fields)) => fields,
        _ => Vec::new(),
    };
    ids.iter().copied().zip(fields.into_iter().map(|(_, value)| value))
}

/// A value out of its union; `None` for null.
pub(super) fn present(value: Value) -> Option<Value> {
    match value {
        Value::Union(_, inner) => present(*inner),
        Value::Null => None,
        other => Some(other),
    }
}

/// Any whole number.
pub(super) fn long(value: Value) -> Option<i64> {
    match present(value)? {
        Value::Int(n) | Value::Date(n) | Value::TimeMillis(n) => Some(i64::from(n)),
        Value::Long(n) | Value::TimeMicros(n) | Value::TimestampMicros(n) | Value::LocalTimestampMicros(n) => Some(n),
        _ => None,
    }
}

/// A whole number of 32 bits.
pub(super) fn int(value: Value) -> Option<i32> {
    long(value).and_then(|n| i32::try_from(n).ok())
}

/// A count or size: not below zero.
pub(super) fn size(value: Value) -> Option<u64> {
    long(value).and_then(|n| u64::try_from(n).ok())
}

/// A string.
pub(super) fn string(value: Value) -> Option<String> {
    match present(value)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A boolean.
pub(super) fn boolean(value: Value) -> Option<bool> {
    match present(value)? {
        Value::Boolean(b) => Some(b),
        _ => None,
    }
}

/// Bytes, fixed or not.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match present(value)? {
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => Some(bytes),
        _ => None,
    }
}

/// The items of an array.
pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match present(value)? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}
