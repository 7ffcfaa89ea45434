//! Columns of a row group while they grow: plain vectors that become Arrow arrays without a copy.
//!
//! A column may lag behind its rows: what is missing at its end is null, and is filled in when the next value comes or
//! when the row group is sealed. So an absent key costs nothing. What goes where is decided by [`super::append`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, PrimitiveArray,
    StringArray, StructArray, new_null_array,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef};

use super::fields::has_leaf;
use crate::iceberg::schema::{Field, Type};

/// One column: validity and values.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) nulls: NullBufferBuilder,
    pub(super) data: Data,
    /// Its type is part of a schema that a file was written with: it can no longer change.
    pub(super) fixed: bool,
}

/// Values, null or not, one for each row that the column has reached.
#[derive(Debug)]
pub(super) enum Data {
    /// No type yet: nulls, and values that do not tell one (`{}`, `[]`, `[null]`).
    Waiting(Vec<Pending>),
    Boolean(BooleanBufferBuilder),
    Int(Vec<i32>),
    /// `wide`: a value is beyond ±2^53, so the column cannot become a double.
    Long {
        values: Vec<i64>,
        wide: bool,
    },
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal {
        precision: u32,
        scale: u32,
        values: Vec<i128>,
    },
    Text(Text),
    /// Strings that hold the JSON text of any value.
    Json(Text),
    Struct(Group),
    List(List),
    /// A type that row images are not written to (dates, maps, …), given by another engine: always null.
    Foreign(Type),
}

/// A value that waits for its column's type.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its place in the column.
    pub(super) index: usize,
    /// The row of the row group that it belongs to.
    pub(super) row: usize,
    pub(super) path: String,
    pub(super) json: String,
}

/// Strings, one after the other.
#[derive(Debug)]
pub(super) struct Text {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

/// Lists: the elements of all of them in one column.
#[derive(Debug)]
pub(super) struct List {
    offsets: Vec<i32>,
    pub(super) element: Box<Column>,
    /// Field id of the element, once it has one.
    pub(super) element_id: Option<i32>,
}

/// The members of an object, or of a whole row image.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) slots: Vec<Slot>,
    /// From JSON key to slot.
    pub(super) by_key: BTreeMap<String, usize>,
    /// Slots that have a field, in the order of the schema.
    pub(super) order: Vec<usize>,
    /// No slot is free any more and none waits for a type: unknown keys can only be rescued.
    pub(super) full: bool,
}

/// One key of an object and its column.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: String,
    /// The key as JSON, as nearly all producers spell it.
    pub(super) quoted: String,
    /// As in the schema, once it is part of one.
    pub(super) field: Option<Field>,
    pub(super) column: Column,
}

impl Data {
    pub(super) fn boolean() -> Data {
        Data::Boolean(BooleanBufferBuilder::new(0))
    }

    pub(super) fn long() -> Data {
        Data::Long { values: Vec::new(), wide: false }
    }
}

impl Default for Text {
    fn default() -> Text {
        Text { offsets: vec![0], bytes: Vec::new() }
    }
}

impl Text {
    pub(super) fn with_capacity(rows: usize) -> Text {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Text { offsets, bytes: Vec::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, value: &str) {
        self.bytes.extend_from_slice(value.as_bytes());
        self.offsets.push(offset(self.bytes.len()));
    }

    pub(super) fn pad_to(&mut self, len: usize) {
        self.offsets.resize(len + 1, offset(self.bytes.len()));
    }

    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> StringArray {
        let text = std::mem::take(self);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(text.offsets));
        StringArray::try_new(offsets, Buffer::from_vec(text.bytes), nulls).expect("all values are whole UTF-8 strings")
    }
}

impl List {
    pub(super) fn of(element: Column, element_id: Option<i32>) -> List {
        List { offsets: vec![0], element: Box::new(element), element_id }
    }

    /// Ends a list: it holds the elements added since the one before.
    pub(super) fn close(&mut self) {
        self.offsets.push(offset(self.element.len()));
    }
}

/// Row groups are sealed far below 2 GiB of input, and no value grows on its way into its column.
#[inline]
fn offset(len: usize) -> i32 {
    i32::try_from(len).expect("the columns of a row group are smaller than 2^31")
}

impl Column {
    pub(super) fn new(data: Data) -> Column {
        Column { nulls: NullBufferBuilder::new(0), data, fixed: false }
    }

    pub(super) fn waiting() -> Column {
        Column::new(Data::Waiting(Vec::new()))
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Whether it has a type, and so a place in the schema. A struct has one if any member has.
    pub(super) fn is_typed(&self) -> bool {
        match &self.data {
            Data::Waiting(_) => false,
            Data::Struct(group) => group.slots.iter().any(|slot| slot.column.is_typed()),
            Data::List(list) => list.element.is_typed(),
            Data::Boolean(_)
            | Data::Int(_)
            | Data::Long { .. }
            | Data::Float(_)
            | Data::Double(_)
            | Data::Decimal { .. }
            | Data::Text(_)
            | Data::Json(_)
            | Data::Foreign(_) => true,
        }
    }

    pub(super) fn push_null(&mut self) {
        self.pad_to(self.len() + 1);
    }

    /// Fills up with nulls.
    #[inline]
    pub(super) fn pad_to(&mut self, len: usize) {
        if self.len() < len {
            self.pad(len);
        }
    }

    #[cold]
    fn pad(&mut self, len: usize) {
        match &mut self.data {
            Data::Boolean(values) => values.append_n(len - values.len(), false),
            Data::Int(values) => values.resize(len, 0),
            Data::Long { values, .. } => values.resize(len, 0),
            Data::Float(values) => values.resize(len, 0.0),
            Data::Double(values) => values.resize(len, 0.0),
            Data::Decimal { values, .. } => values.resize(len, 0),
            Data::Text(text) | Data::Json(text) => text.pad_to(len),
            Data::List(list) => list.offsets.resize(len + 1, offset(list.element.len())),
            Data::Waiting(_) | Data::Struct(_) | Data::Foreign(_) => {}
        }
        self.nulls.append_n_nulls(len - self.nulls.len());
    }

    /// Forgets the rows of a column that has no leaf with a type, so nothing but nulls.
    pub(super) fn clear(&mut self) {
        self.nulls.truncate(0);
        if let Data::List(list) = &mut self.data {
            list.offsets.truncate(1);
        }
    }

    /// Its values as an array of `len` rows and of type `data_type`; starts over, empty, with the same type.
    pub(super) fn finish(&mut self, len: usize, data_type: &DataType) -> ArrayRef {
        self.pad_to(len);
        let nulls = self.nulls.finish();
        match &mut self.data {
            Data::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Data::Int(values) => Arc::new(Int32Array::new(std::mem::take(values).into(), nulls)),
            Data::Long { values, wide } => {
                *wide = false;
                Arc::new(Int64Array::new(std::mem::take(values).into(), nulls))
            }
            Data::Float(values) => Arc::new(PrimitiveArray::<Float32Type>::new(std::mem::take(values).into(), nulls)),
            Data::Double(values) => Arc::new(Float64Array::new(std::mem::take(values).into(), nulls)),
            Data::Decimal { values, .. } => {
                Arc::new(Decimal128Array::new(std::mem::take(values).into(), nulls).with_data_type(data_type.clone()))
            }
            Data::Text(text) | Data::Json(text) => Arc::new(text.finish(nulls)),
            Data::Struct(group) => {
                let DataType::Struct(fields) = data_type else { panic!("a struct column as {data_type}") };
                let arrays = group.finish(len, fields.iter());
                Arc::new(StructArray::new(fields.clone(), arrays, nulls))
            }
            Data::List(list) => {
                let DataType::List(element) = data_type else { panic!("a list column as {data_type}") };
                let offsets = OffsetBuffer::new(std::mem::replace(&mut list.offsets, vec![0]).into());
                let elements = list.element.finish(list.element.len(), element.data_type());
                Arc::new(ListArray::new(Arc::clone(element), offsets, elements, nulls))
            }
            Data::Foreign(_) => new_null_array(data_type, len),
            Data::Waiting(_) => panic!("a column without a type as {data_type}"),
        }
    }
}

impl Slot {
    pub(super) fn new(key: String, field: Option<Field>, column: Column) -> Slot {
        let quoted = serde_json::to_string(&key).expect("a string is always JSON");
        Slot { key, quoted, field, column }
    }
}

impl Group {
    /// The arrays of the fields, in the order of the schema.
    pub(super) fn finish<'a>(&mut self, len: usize, mut fields: impl Iterator<Item = &'a FieldRef>) -> Vec<ArrayRef> {
        let mut arrays = Vec::with_capacity(self.order.len());
        for &slot in &self.order {
            let Slot { field, column, .. } = &mut self.slots[slot];
            if field.as_ref().is_some_and(|field| has_leaf(&field.field_type)) {
                let field = fields.next().expect("one Arrow field for each field that Parquet can hold");
                arrays.push(column.finish(len, field.data_type()));
            }
        }
        arrays
    }
}
