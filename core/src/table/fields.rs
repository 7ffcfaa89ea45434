//! Columns as fields: from an Iceberg schema to empty columns, from columns to fields with ids, and to Arrow's types.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::append::{Level, settle, widen};
use super::column::{Column, Data, Group, List, Slot, Text};
use super::names::{Doc, Names};
use super::rescue::Rescued;
use crate::iceberg::schema::{Field, ListType, Primitive, Type};
use crate::limits::{FIXED_NULL_BYTES_MAX, STRUCT_FIELDS_MAX, TABLE_COLUMNS_MAX};

/// Gives new fields their names and ids.
#[derive(Debug)]
pub(super) struct Numbering {
    pub(super) names: Names,
    /// The highest field id that was ever given.
    pub(super) last_id: i32,
}

impl Numbering {
    pub(super) fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.checked_add(1).expect("a table has fewer than 2^31 fields");
        self.last_id
    }
}

impl Group {
    /// Empty columns for the fields of a schema.
    pub(super) fn of(fields: &[Field]) -> Group {
        let mut group = Group::default();
        for field in fields {
            group.add_field(field.clone());
        }
        group
    }

    pub(super) fn add_field(&mut self, field: Field) -> usize {
        let doc = Doc::parse(field.doc.as_deref());
        let slot = self.slots.len();
        let key = doc.key.unwrap_or_else(|| field.name.clone());
        let column = Column { fixed: true, ..Column::new(data_of(&field.field_type, doc.json_lists)) };
        // Should two fields claim one key, the first has it.
        self.by_key.entry(key.clone()).or_insert(slot);
        self.order.push(slot);
        self.slots.push(Slot::new(key, Some(field), column));
        slot
    }

    /// Makes every column that has a type a field, for good. `path` is the group's own, as [`Names::path`] gives it.
    pub(super) fn make_fields(&mut self, path: &str, numbering: &mut Numbering) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if !slot.column.is_typed() {
                continue;
            }
            let field = match slot.field.take() {
                Some(field) => {
                    let path = Names::path(path, &field.name);
                    let field_type = type_of(&mut slot.column, &path, Some(&field.field_type), numbering);
                    Field { field_type, ..field }
                }
                None => {
                    self.order.push(index);
                    new_field(slot, path, numbering)
                }
            };
            slot.field = Some(field);
        }
    }

    /// The fields, in the order of the schema.
    pub(super) fn fields(&self) -> Vec<Field> {
        self.order.iter().filter_map(|&slot| self.slots.get(slot)?.field.clone()).collect()
    }

    /// Takes over the columns and types that another group has and this one does not, as far as it can.
    pub(super) fn adopt(&mut self, other: &Group, rescued: &mut Rescued, level: Level) {
        let most = if level == Level::TOP { TABLE_COLUMNS_MAX } else { STRUCT_FIELDS_MAX };
        for theirs in other.slots.iter().filter(|slot| slot.column.is_typed()) {
            match self.by_key.get(&theirs.key) {
                Some(&ours) => adopt_column(&mut self.slots[ours].column, &theirs.column, rescued, level),
                None if self.slots.len() < most => {
                    self.by_key.insert(theirs.key.clone(), self.slots.len());
                    let column = Column::new(like(&theirs.column));
                    self.slots.push(Slot::new(theirs.key.clone(), None, column));
                }
                None => {}
            }
        }
    }
}

fn adopt_column(ours: &mut Column, theirs: &Column, rescued: &mut Rescued, level: Level) {
    match (&mut ours.data, &theirs.data) {
        (Data::Waiting(_), _) => settle(ours, like(theirs), rescued, level),
        (Data::Long { .. }, Data::Double(_)) => {
            widen(ours, "0.0");
        }
        (Data::Struct(ours), Data::Struct(theirs)) => ours.adopt(theirs, rescued, level.below()),
        (Data::List(ours), Data::List(theirs)) => {
            adopt_column(&mut ours.element, &theirs.element, rescued, level.below());
        }
        _ => {}
    }
}

/// The same type without values or ids.
fn like(column: &Column) -> Data {
    match &column.data {
        Data::Waiting(_) => Data::Waiting(Vec::new()),
        Data::Boolean(_) => Data::boolean(),
        Data::Int(_) => Data::Int(Vec::new()),
        Data::Long { .. } => Data::long(),
        Data::Float(_) => Data::Float(Vec::new()),
        Data::Double(_) => Data::Double(Vec::new()),
        &Data::Decimal { precision, scale, .. } => Data::Decimal { precision, scale, values: Vec::new() },
        Data::Text(_) => Data::Text(Text::default()),
        Data::Json(_) => Data::Json(Text::default()),
        Data::Struct(group) => {
            let mut copy = Group::default();
            for slot in group.slots.iter().filter(|slot| slot.column.is_typed()) {
                copy.by_key.insert(slot.key.clone(), copy.slots.len());
                let column = Column::new(like(&slot.column));
                copy.slots.push(Slot::new(slot.key.clone(), None, column));
            }
            Data::Struct(copy)
        }
        Data::List(list) => Data::List(List::of(Column::new(like(&list.element)), None)),
        Data::Foreign(foreign) => Data::Foreign(foreign.clone()),
    }
}

fn new_field(slot: &mut Slot, parent: &str, numbering: &mut Numbering) -> Field {
    let name = numbering.names.claim(parent, &slot.key);
    let id = numbering.next_id();
    let path = Names::path(parent, &name);
    let field_type = type_of(&mut slot.column, &path, None, numbering);
    let key = (name != slot.key).then(|| slot.key.clone());
    let doc = Doc { key, json_lists: json_lists(&slot.column) }.render();
    Field { id, name, required: false, field_type, doc }
}

/// Below how many lists there is JSON text.
fn json_lists(column: &Column) -> Option<usize> {
    match &column.data {
        Data::Json(_) => Some(0),
        Data::List(list) => json_lists(&list.element).map(|lists| lists + 1),
        Data::Waiting(_)
        | Data::Boolean(_)
        | Data::Int(_)
        | Data::Long { .. }
        | Data::Float(_)
        | Data::Double(_)
        | Data::Decimal { .. }
        | Data::Text(_)
        | Data::Struct(_)
        | Data::Foreign(_) => None,
    }
}

/// The column's type, with ids for all that is new in it. From now on the type stays.
fn type_of(column: &mut Column, path: &str, old: Option<&Type>, numbering: &mut Numbering) -> Type {
    column.fixed = true;
    let primitive = match &mut column.data {
        Data::Struct(group) => {
            group.make_fields(path, numbering);
            return Type::Struct(group.fields());
        }
        Data::List(list) => {
            let element_id = *list.element_id.get_or_insert_with(|| numbering.next_id());
            let element_required = matches!(old, Some(Type::List(old)) if old.element_required);
            let old = match old {
                Some(Type::List(old)) => Some(&old.element),
                _ => None,
            };
            let element = type_of(&mut list.element, &Names::path(path, "element"), old, numbering);
            return Type::List(Box::new(ListType { element_id, element_required, element }));
        }
        Data::Foreign(foreign) => return foreign.clone(),
        Data::Boolean(_) => Primitive::Boolean,
        Data::Int(_) => Primitive::Int,
        Data::Long { .. } => Primitive::Long,
        Data::Float(_) => Primitive::Float,
        Data::Double(_) => Primitive::Double,
        &mut Data::Decimal { precision, scale, .. } => Primitive::Decimal { precision, scale },
        Data::Text(_) | Data::Json(_) => Primitive::String,
        Data::Waiting(_) => panic!("a column without a type as field {path}"),
    };
    Type::Primitive(primitive)
}

/// An empty column's data for a field's type.
fn data_of(field_type: &Type, json_lists: Option<usize>) -> Data {
    match field_type {
        Type::Struct(fields) => Data::Struct(Group::of(fields)),
        Type::List(list) => {
            let data = data_of(&list.element, json_lists.and_then(|lists| lists.checked_sub(1)));
            let element = Column { fixed: true, ..Column::new(data) };
            Data::List(List::of(element, Some(list.element_id)))
        }
        Type::Map(_) | Type::Other(_) => Data::Foreign(field_type.clone()),
        Type::Primitive(primitive) => match *primitive {
            Primitive::Boolean => Data::boolean(),
            Primitive::Int => Data::Int(Vec::new()),
            Primitive::Long => Data::long(),
            Primitive::Float => Data::Float(Vec::new()),
            Primitive::Double => Data::Double(Vec::new()),
            Primitive::Decimal { precision, scale } => Data::Decimal { precision, scale, values: Vec::new() },
            Primitive::String if json_lists == Some(0) => Data::Json(Text::default()),
            Primitive::String => Data::Text(Text::default()),
            Primitive::Date
            | Primitive::Time
            | Primitive::Timestamp
            | Primitive::Timestamptz
            | Primitive::Uuid
            | Primitive::Fixed(_)
            | Primitive::Binary => Data::Foreign(field_type.clone()),
        },
    }
}

/// Whether files hold the type: Parquet has no groups without members, of a type that we do not know we cannot even write
/// nulls, and nulls of a long `fixed` take its length each. Such columns are left out, which reads as null.
pub(super) fn has_leaf(field_type: &Type) -> bool {
    match field_type {
        Type::Primitive(Primitive::Fixed(length)) => *length <= FIXED_NULL_BYTES_MAX,
        Type::Primitive(_) => true,
        Type::Other(_) => false,
        Type::Struct(fields) => fields.iter().any(|field| has_leaf(&field.field_type)),
        Type::List(list) => has_leaf(&list.element),
        Type::Map(map) => has_leaf(&map.key) && has_leaf(&map.value),
    }
}

/// A field for Parquet: with its id, optional unless it is one of ours (another engine's required field may have no
/// value in a row image; better null than no row).
pub(super) fn arrow_field(name: &str, id: i32, nullable: bool, field_type: &Type) -> arrow_schema::Field {
    let metadata = [(PARQUET_FIELD_ID_META_KEY, id.to_string())];
    arrow_schema::Field::new(name, arrow_type(field_type), nullable).with_metadata(metadata)
}

fn arrow_type(field_type: &Type) -> DataType {
    match field_type {
        Type::Other(name) => panic!("a column of type {name}, which no file can hold, is written"),
        Type::Struct(fields) => DataType::Struct(arrow_fields(fields)),
        Type::List(list) => DataType::List(Arc::new(arrow_field("element", list.element_id, true, &list.element))),
        Type::Map(map) => {
            let key = arrow_field("key", map.key_id, false, &map.key);
            let value = arrow_field("value", map.value_id, true, &map.value);
            let entries = arrow_schema::Field::new("key_value", DataType::Struct(vec![key, value].into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        Type::Primitive(primitive) => match *primitive {
            Primitive::Boolean => DataType::Boolean,
            Primitive::Int => DataType::Int32,
            Primitive::Long => DataType::Int64,
            Primitive::Float => DataType::Float32,
            Primitive::Double => DataType::Float64,
            Primitive::Decimal { precision, scale } => decimal_type(precision, scale),
            Primitive::Date => DataType::Date32,
            Primitive::Time => DataType::Time64(TimeUnit::Microsecond),
            Primitive::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Primitive::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Primitive::String => DataType::Utf8,
            Primitive::Uuid => DataType::FixedSizeBinary(16),
            Primitive::Fixed(length) => {
                DataType::FixedSizeBinary(i32::try_from(length).expect("a fixed type is shorter than 2^31"))
            }
            Primitive::Binary => DataType::Binary,
        },
    }
}

fn arrow_fields(fields: &[Field]) -> arrow_schema::Fields {
    let fields = fields.iter().filter(|field| has_leaf(&field.field_type));
    fields.map(|field| arrow_field(&field.name, field.id, true, &field.field_type)).collect()
}

fn decimal_type(precision: u32, scale: u32) -> DataType {
    let in_range = |digits: u32| u8::try_from(digits).ok().filter(|digits| *digits <= 38);
    let precision = in_range(precision).expect("a decimal has at most 38 digits (Iceberg: \"Primitive Types\")");
    let scale = in_range(scale).expect("a decimal's scale is at most its precision");
    DataType::Decimal128(precision, scale as i8)
}
