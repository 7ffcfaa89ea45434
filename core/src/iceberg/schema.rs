//! Iceberg schemas and types (specification: "Schemas and Data Types").

use serde::{Deserialize, Serialize};

/// A table's schema: a struct with an id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Schema {
    /// Unique in its table.
    pub schema_id: i32,
    /// The columns, in order.
    pub fields: Vec<Field>,
}

/// A named and numbered member of a struct.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Unique in its table, for ever.
    pub id: i32,
    /// Unique in its struct.
    pub name: String,
    /// Whether it may not be null.
    pub required: bool,
    /// Its type.
    #[serde(rename = "type")]
    pub field_type: Type,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Type {
    /// A single value.
    Primitive(Primitive),
    /// A group of named fields.
    Struct(Vec<Field>),
    /// A list.
    List(Box<ListType>),
    /// A map.
    Map(Box<MapType>),
}

/// A list of elements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListType {
    /// Field id of the element.
    pub element_id: i32,
    /// Whether elements may not be null.
    pub element_required: bool,
    /// The element's type.
    pub element: Type,
}

/// A map from keys to values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapType {
    /// Field id of the key.
    pub key_id: i32,
    /// The key's type; never null.
    pub key: Type,
    /// Field id of the value.
    pub value_id: i32,
    /// Whether values may not be null.
    pub value_required: bool,
    /// The value's type.
    pub value: Type,
}

/// A primitive type of format versions 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Primitive {
    /// True or false.
    Boolean,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// 32-bit IEEE 754.
    Float,
    /// 64-bit IEEE 754.
    Double,
    /// Fixed point.
    Decimal {
        /// Digits in all, at most 38.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// Days.
    Date,
    /// Microseconds of a day.
    Time,
    /// Microseconds without time zone.
    Timestamp,
    /// Microseconds in UTC.
    Timestamptz,
    /// UTF-8.
    String,
    /// 16 bytes.
    Uuid,
    /// Bytes of this length.
    Fixed(u64),
    /// Bytes.
    Binary,
}
