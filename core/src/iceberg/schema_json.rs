//! The specification's JSON of schemas and types (appendix C, "Schemas").
//!
//! In JSON a schema has the specification's shape; in a binary format it is that JSON as one string, so that saved state
//! and logs need no second shape. Names of types that are not known are kept ([`Type::Other`]).

use std::fmt;

use serde::de::Error as _;
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::{Field, ListType, MapType, Primitive, Schema, Type};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SchemaJson {
    #[serde(default)]
    schema_id: i32,
    fields: Vec<Field>,
}

/// What one needs to read or write JSON within another format.
struct Json<T>(T);

impl Serialize for Json<&Schema> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "struct")?;
        map.serialize_entry("schema-id", &self.0.schema_id)?;
        map.serialize_entry("fields", &self.0.fields)?;
        map.end()
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Json(self).serialize(serializer);
        }
        let text = serde_json::to_string(&Json(self)).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Schema, D::Error> {
        let json = if deserializer.is_human_readable() {
            SchemaJson::deserialize(deserializer)?
        } else {
            serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)?
        };
        Ok(Schema { schema_id: json.schema_id, fields: json.fields })
    }
}

#[derive(Deserialize)]
struct FieldJson {
    id: i32,
    name: String,
    required: bool,
    #[serde(rename = "type")]
    field_type: Type,
    doc: Option<String>,
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("required", &self.required)?;
        map.serialize_entry("type", &self.field_type)?;
        if let Some(doc) = &self.doc {
            map.serialize_entry("doc", doc)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        let FieldJson { id, name, required, field_type, doc } = FieldJson::deserialize(deserializer)?;
        Ok(Field { id, name, required, field_type, doc })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TypeJson {
    Name(String),
    Nested(NestedJson),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "kebab-case")]
enum NestedJson {
    Struct { fields: Vec<Field> },
    List { element_id: i32, element: Type, element_required: bool },
    Map { key_id: i32, key: Type, value_id: i32, value: Type, value_required: bool },
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Type::Primitive(primitive) => serializer.collect_str(primitive),
            Type::Other(name) => serializer.serialize_str(name),
            Type::Struct(fields) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("type", "struct")?;
                map.serialize_entry("fields", fields)?;
                map.end()
            }
            Type::List(list) => {
                let mut map = serializer.serialize_map(Some(4))?;
                map.serialize_entry("type", "list")?;
                map.serialize_entry("element-id", &list.element_id)?;
                map.serialize_entry("element", &list.element)?;
                map.serialize_entry("element-required", &list.element_required)?;
                map.end()
            }
            Type::Map(inner) => {
                let mut map = serializer.serialize_map(Some(6))?;
                map.serialize_entry("type", "map")?;
                map.serialize_entry("key-id", &inner.key_id)?;
                map.serialize_entry("key", &inner.key)?;
                map.serialize_entry("value-id", &inner.value_id)?;
                map.serialize_entry("value", &inner.value)?;
                map.serialize_entry("value-required", &inner.value_required)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Type, D::Error> {
        Ok(match TypeJson::deserialize(deserializer)? {
            TypeJson::Name(name) => Primitive::parse(&name).map_or(Type::Other(name), Type::Primitive),
            TypeJson::Nested(NestedJson::Struct { fields }) => Type::Struct(fields),
            TypeJson::Nested(NestedJson::List { element_id, element, element_required }) => {
                Type::List(Box::new(ListType { element_id, element_required, element }))
            }
            TypeJson::Nested(NestedJson::Map { key_id, key, value_id, value, value_required }) => {
                Type::Map(Box::new(MapType { key_id, key, value_id, value_required, value }))
            }
        })
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Primitive::Boolean => f.write_str("boolean"),
            Primitive::Int => f.write_str("int"),
            Primitive::Long => f.write_str("long"),
            Primitive::Float => f.write_str("float"),
            Primitive::Double => f.write_str("double"),
            Primitive::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Primitive::Date => f.write_str("date"),
            Primitive::Time => f.write_str("time"),
            Primitive::Timestamp => f.write_str("timestamp"),
            Primitive::Timestamptz => f.write_str("timestamptz"),
            Primitive::String => f.write_str("string"),
            Primitive::Uuid => f.write_str("uuid"),
            Primitive::Fixed(length) => write!(f, "fixed[{length}]"),
            Primitive::Binary => f.write_str("binary"),
        }
    }
}

impl Primitive {
    /// The primitive of this name in the specification's spelling; `None` if it is not one of versions 1 and 2.
    pub fn parse(name: &str) -> Option<Primitive> {
        Some(match name {
            "boolean" => Primitive::Boolean,
            "int" => Primitive::Int,
            "long" => Primitive::Long,
            "float" => Primitive::Float,
            "double" => Primitive::Double,
            "date" => Primitive::Date,
            "time" => Primitive::Time,
            "timestamp" => Primitive::Timestamp,
            "timestamptz" => Primitive::Timestamptz,
            "string" => Primitive::String,
            "uuid" => Primitive::Uuid,
            "binary" => Primitive::Binary,
            other => return parse_with_numbers(other),
        })
    }
}

/// `decimal(p, s)` and `fixed[n]`, with or without spaces.
fn parse_with_numbers(name: &str) -> Option<Primitive> {
    if let Some(inside) = name.strip_prefix("fixed[").and_then(|rest| rest.strip_suffix(']')) {
        return inside.trim().parse().ok().map(Primitive::Fixed);
    }
    let inside = name.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',')?;
    Some(Primitive::Decimal { precision: precision.trim().parse().ok()?, scale: scale.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Schema {
        let schema: Schema = serde_json::from_str(json).expect("a schema");
        assert_eq!(serde_json::to_string(&schema).expect("writes"), json, "JSON comes back as it was");
        let binary = postcard::to_allocvec(&schema).expect("writes");
        assert_eq!(postcard::from_bytes::<Schema>(&binary).expect("reads"), schema, "also through a binary format");
        schema
    }

    fn one(field_type: &str) -> String {
        format!(
            r#"{{"type":"struct","schema-id":3,"fields":[{{"id":1,"name":"c","required":false,"type":{field_type}}}]}}"#
        )
    }

    #[test]
    fn every_primitive_comes_back_as_it_was() {
        for name in [
            "boolean",
            "int",
            "long",
            "float",
            "double",
            "decimal(9, 2)",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "string",
            "uuid",
            "fixed[16]",
            "binary",
        ] {
            let schema = check(&one(&format!("\"{name}\"")));
            assert!(matches!(schema.fields[0].field_type, Type::Primitive(_)), "{name}");
        }
    }

    #[test]
    fn types_of_later_versions_are_kept_by_name() {
        for name in ["timestamp_ns", "timestamptz_ns", "variant", "unknown", "geometry(srid:3857)", "decimal(x, y)"] {
            let schema = check(&one(&format!("\"{name}\"")));
            assert_eq!(schema.fields[0].field_type, Type::Other(name.to_owned()));
        }
    }

    #[test]
    fn nested_types_come_back_and_their_fields_are_found() {
        let schema = check(&one(concat!(
            r#"{"type":"map","key-id":2,"key":"string","value-id":3,"value":{"type":"list","element-id":9,"element":"#,
            r#"{"type":"struct","fields":[{"id":5,"name":"x","required":true,"type":"double","doc":"why"}]},"#,
            r#""element-required":true},"value-required":false}"#
        )));
        assert_eq!(schema.find(5).map(|field| field.name.as_str()), Some("x"));
        assert_eq!(schema.find(9), None, "an element is not a field");
        assert_eq!(schema.max_id(), 9);
        assert!(schema.column("c").is_some() && schema.column("x").is_none());
    }

    #[test]
    fn spaces_in_a_decimal_do_not_matter() {
        assert_eq!(Primitive::parse("decimal(9,2)"), Some(Primitive::Decimal { precision: 9, scale: 2 }));
    }
}
