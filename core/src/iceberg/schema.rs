//! Iceberg schemas and types (specification: "Schemas and Data Types").
//!
//! Their JSON is in [`super::schema_json`]. Evolution is decided elsewhere (the `table` room): here are only the shapes.

/// A table's schema: a struct with an id.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Unique in its table.
    pub schema_id: i32,
    /// The columns, in order.
    pub fields: Vec<Field>,
}

/// A named and numbered member of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Unique in its table, for ever.
    pub id: i32,
    /// Unique in its struct.
    pub name: String,
    /// Whether it may not be null.
    pub required: bool,
    /// Its type.
    pub field_type: Type,
    /// For people.
    pub doc: Option<String>,
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// A single value.
    Primitive(Primitive),
    /// A group of named fields.
    Struct(Vec<Field>),
    /// A list.
    List(Box<ListType>),
    /// A map.
    Map(Box<MapType>),
    /// A type that DoLake does not know (format version 3 has some), by its name. It is kept, never written to.
    Other(String),
}

/// A list of elements.
#[derive(Debug, Clone, PartialEq)]
pub struct ListType {
    /// Field id of the element.
    pub element_id: i32,
    /// Whether elements may not be null.
    pub element_required: bool,
    /// The element's type.
    pub element: Type,
}

/// A map from keys to values.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Schema {
    /// The top-level column of this name.
    pub fn column(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field with this id, at any depth below structs, lists and maps. Elements, keys and values are not fields.
    pub fn find(&self, id: i32) -> Option<&Field> {
        find_in(&self.fields, id)
    }

    /// The highest id in use, those of elements, keys and values included; 0 if there is none.
    pub fn max_id(&self) -> i32 {
        self.fields.iter().map(Field::max_id).max().unwrap_or(0)
    }
}

impl Field {
    fn max_id(&self) -> i32 {
        self.id.max(self.field_type.max_id())
    }
}

impl Type {
    fn max_id(&self) -> i32 {
        match self {
            Type::Primitive(_) | Type::Other(_) => 0,
            Type::Struct(fields) => fields.iter().map(Field::max_id).max().unwrap_or(0),
            Type::List(list) => list.element_id.max(list.element.max_id()),
            Type::Map(map) => map.key_id.max(map.value_id).max(map.key.max_id()).max(map.value.max_id()),
        }
    }
}

fn find_in(fields: &[Field], id: i32) -> Option<&Field> {
    fields.iter().find_map(|field| if field.id == id { Some(field) } else { find_below(&field.field_type, id) })
}

fn find_below(parent: &Type, id: i32) -> Option<&Field> {
    match parent {
        Type::Primitive(_) | Type::Other(_) => None,
        Type::Struct(fields) => find_in(fields, id),
        Type::List(list) => find_below(&list.element, id),
        Type::Map(map) => find_below(&map.key, id).or_else(|| find_below(&map.value, id)),
    }
}
