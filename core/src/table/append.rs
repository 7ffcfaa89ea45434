//! Row images into columns: the inference table of the design page "Types", value by value.
//!
//! Every value has a place: its column, if it fits; else `_cdc_rescued`, with null in the column. So nothing ever has
//! to be rolled back. A column waits until a value tells its type; until a file was written with it, integers may
//! still become doubles or decimals, as long as no digit is lost.
//!
//! Of a key that comes twice in one object the first value is taken and the others are rescued.

use std::collections::BTreeSet;

use super::column::{Column, Data, Group, List, Pending, Slot, Text};
use super::names::may_be_field;
use super::number::{self, Class};
use super::rescue::{Path, Rescued};
use crate::limits::{STRUCT_DEPTH_MAX, STRUCT_FIELDS_MAX, TABLE_COLUMNS_MAX};
use crate::wire::json::{Cursor, JsonStr, Kind};

const CHECKED: &str = "the wire checked this JSON";

/// Where we read, and where goes what does not fit.
pub(super) struct Reader<'a, 'r> {
    text: &'a str,
    json: Cursor<'a>,
    /// The row of the row group.
    row: usize,
    rescued: &'r mut Rescued,
}

impl<'a, 'r> Reader<'a, 'r> {
    pub(super) fn new(text: &'a str, row: usize, rescued: &'r mut Rescued) -> Reader<'a, 'r> {
        Reader { text, json: Cursor::new(text), row, rescued }
    }

    #[inline]
    fn peek(&mut self) -> Kind {
        self.json.peek().expect(CHECKED)
    }

    /// Passes over a value and gives its text.
    fn raw(&mut self) -> &'a str {
        let span = self.json.skip().expect(CHECKED);
        &self.text[span.range()]
    }

    #[cold]
    fn rescue(&mut self, path: &Path<'_>) {
        let json = self.raw();
        self.rescued.keep(self.row, path.render(), json);
    }
}

/// What an object's members may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// Depth of the members' values: 1 for columns.
    pub(super) depth: usize,
}

impl Level {
    pub(super) const TOP: Level = Level { depth: 1 };

    fn is_top(self) -> bool {
        self == Level::TOP
    }

    pub(super) fn below(self) -> Level {
        Level { depth: self.depth + 1 }
    }

    fn fields_max(self) -> usize {
        if self.is_top() { TABLE_COLUMNS_MAX } else { STRUCT_FIELDS_MAX }
    }
}

/// Appends the members of the object at hand as row `row` of a group's columns. Members that do not come stay behind:
/// their columns are filled up later.
pub(super) fn append_members(
    group: &mut Group,
    row: usize,
    reader: &mut Reader<'_, '_>,
    path: &Path<'_>,
    level: Level,
) {
    reader.json.enter_object().expect(CHECKED);
    let (mut first, mut next) = (true, 0);
    loop {
        // Keys come in the same order in nearly every object, so the next column is nearly always the right one.
        let expected = group.slots.get(next).is_some_and(|slot| reader.json.next_key_is(first, &slot.quoted));
        if !expected {
            let Some(key) = reader.json.next_key(first).expect(CHECKED) else { return };
            match slot_for(group, key, reader, path, level) {
                Some(slot) => next = slot,
                None => {
                    first = false;
                    continue;
                }
            }
        }
        first = false;
        let Slot { key, column, .. } = &mut group.slots[next];
        next += 1;
        append_member(column, row, reader, &Path::Key(path, key), level);
    }
}

#[inline]
fn append_member(column: &mut Column, row: usize, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    let kind = reader.peek();
    if kind == Kind::Null {
        reader.json.null().expect(CHECKED);
    } else if column.len() > row {
        reader.rescue(path);
    } else {
        column.pad_to(if mutant!(NullsSwapped) { 0 } else { row });
        append(column, kind, reader, path, level);
    }
}

/// The slot of a key that was not the expected one; a new one if it may have one. Else its value is passed over, and
/// rescued unless it is null.
#[cold]
fn slot_for(
    group: &mut Group,
    key: JsonStr<'_>,
    reader: &mut Reader<'_, '_>,
    path: &Path<'_>,
    level: Level,
) -> Option<usize> {
    let key = key.decode();
    if let Some(&slot) = group.by_key.get(key.as_ref()) {
        return Some(slot);
    }
    let slot = if may_be_field(&key, level.is_top()) { free_slot(group, reader, level) } else { None };
    match slot {
        Some(slot) => {
            let fresh = Slot::new(key.as_ref().to_owned(), None, Column::waiting());
            group.by_key.insert(key.into_owned(), slot);
            match group.slots.get_mut(slot) {
                Some(waiting) => *waiting = fresh,
                None => group.slots.push(fresh),
            }
            Some(slot)
        }
        None if reader.peek() == Kind::Null => {
            reader.json.null().expect(CHECKED);
            None
        }
        None => {
            reader.rescue(&Path::Key(path, &key));
            None
        }
    }
}

/// Where a new key may go: behind the last slot, or, when there are too many, into one that still waits for a type,
/// if the value at hand has one. So keys that are always null or empty do not keep others out.
fn free_slot(group: &mut Group, reader: &mut Reader<'_, '_>, level: Level) -> Option<usize> {
    if group.slots.len() < level.fields_max() {
        return Some(group.slots.len());
    }
    if group.full || shape(&mut reader.json.clone(), level) == Shape::Untyped {
        return None;
    }
    let Some(slot) = group.slots.iter().position(|slot| matches!(slot.column.data, Data::Waiting(_))) else {
        group.full = true;
        return None;
    };
    let waiting = &mut group.slots[slot];
    give_up_waiting(&mut waiting.column, reader.rescued);
    group.by_key.remove(&waiting.key);
    Some(slot)
}

/// Appends the value at hand, which is of this kind and not null.
#[inline]
fn append(column: &mut Column, kind: Kind, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    if let Data::Json(text) = &mut column.data {
        text.push(reader.raw());
        column.nulls.append_non_null();
        return;
    }
    match kind {
        Kind::String => append_string(column, reader, path, level),
        Kind::Number => append_number(column, reader, path, level),
        Kind::Bool => append_bool(column, reader, path, level),
        Kind::Object => append_object(column, reader, path, level),
        Kind::Array => append_array(column, reader, path, level),
        Kind::Null => panic!("a null where a value was seen, at byte {}", reader.json.offset()),
    }
}

fn append_string(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    if let Data::Text(text) = &mut column.data {
        let value = reader.json.string().expect(CHECKED);
        if value.escaped {
            text.push(&value.decode());
        } else {
            text.push(value.raw);
        }
        column.nulls.append_non_null();
    } else if let Data::Waiting(_) = column.data {
        settle(column, Data::Text(Text::default()), reader.rescued, level);
        append_string(column, reader, path, level);
    } else {
        conflict(column, reader, path);
    }
}

fn append_bool(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    if let Data::Boolean(values) = &mut column.data {
        values.append(reader.json.bool().expect(CHECKED));
        column.nulls.append_non_null();
    } else if let Data::Waiting(_) = column.data {
        settle(column, Data::boolean(), reader.rescued, level);
        append_bool(column, reader, path, level);
    } else {
        conflict(column, reader, path);
    }
}

fn append_object(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    if let Data::Struct(group) = &mut column.data {
        append_members(group, column.nulls.len(), reader, path, level.below());
        column.nulls.append_non_null();
    } else if let Data::Waiting(_) = column.data {
        append_untyped(column, reader, path, level);
    } else {
        conflict(column, reader, path);
    }
}

fn append_array(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    if let Data::List(list) = &mut column.data {
        append_elements(list, reader, path, level.below());
        column.nulls.append_non_null();
    } else if let Data::Waiting(_) = column.data {
        append_untyped(column, reader, path, level);
    } else {
        conflict(column, reader, path);
    }
}

fn append_elements(list: &mut List, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    reader.json.enter_array().expect(CHECKED);
    let mut index = 0;
    while reader.json.next_element(index == 0).expect(CHECKED) {
        let kind = reader.peek();
        if kind == Kind::Null {
            reader.json.null().expect(CHECKED);
            list.element.push_null();
        } else {
            append(&mut list.element, kind, reader, &Path::Index(path, index), level);
        }
        index += 1;
    }
    list.close();
}

/// An object or array for a column that has no type yet.
fn append_untyped(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    let data = match shape(&mut reader.json.clone(), level) {
        Shape::Untyped => return wait(column, reader, path),
        Shape::Struct => Data::Struct(Group::default()),
        Shape::List { mixed } => {
            let element = if mixed { Column::new(Data::Json(Text::default())) } else { Column::waiting() };
            Data::List(List::of(element, None))
        }
        Shape::Scalar | Shape::Json => Data::Json(Text::default()),
    };
    settle(column, data, reader.rescued, level);
    let kind = reader.peek();
    append(column, kind, reader, path, level);
}

fn append_number(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) {
    let text = reader.json.number().expect(CHECKED);
    if !push_number(column, text, reader, path, level) {
        reader.rescued.keep(reader.row, path.render(), text);
        column.push_null();
    }
}

/// Whether the number fitted, now or after the column was widened.
fn push_number(column: &mut Column, text: &str, reader: &mut Reader<'_, '_>, path: &Path<'_>, level: Level) -> bool {
    match &mut column.data {
        Data::Long { values, wide } => {
            let Class::Long(value) = number::classify(text) else {
                return widen(column, text) && push_number(column, text, reader, path, level);
            };
            *wide |= value.unsigned_abs() > 1 << f64::MANTISSA_DIGITS;
            values.push(value);
        }
        Data::Double(values) => {
            let double = number::double(text);
            if !double.value.is_finite() {
                return false;
            }
            if !double.exact {
                reader.rescued.keep(reader.row, path.render(), text);
            }
            values.push(double.value);
        }
        Data::Decimal { precision, scale, values } => match number::decimal(text, *precision, *scale) {
            Some(value) => values.push(value),
            None => return false,
        },
        Data::Int(values) => match text.parse() {
            Ok(value) => values.push(value),
            Err(_) => return false,
        },
        Data::Float(values) => {
            let double = number::double(text);
            let value = double.value as f32;
            if !double.exact || f64::from(value) != double.value {
                return false;
            }
            values.push(value);
        }
        Data::Waiting(_) => {
            settle(column, data_for_number(text), reader.rescued, level);
            if let Data::Json(values) = &mut column.data {
                values.push(text);
            } else {
                return push_number(column, text, reader, path, level);
            }
        }
        Data::Boolean(_) | Data::Text(_) | Data::Json(_) | Data::Struct(_) | Data::List(_) | Data::Foreign(_) => {
            return false;
        }
    }
    column.nulls.append_non_null();
    true
}

fn data_for_number(text: &str) -> Data {
    match number::classify(text) {
        Class::Long(_) => Data::long(),
        Class::Fraction => Data::Double(Vec::new()),
        Class::BigInteger if number::decimal(text, 38, 0).is_some() => {
            Data::Decimal { precision: 38, scale: 0, values: Vec::new() }
        }
        Class::BigInteger => Data::Json(Text::default()),
    }
}

/// Makes doubles or decimals of integers, if a number needs it, the type is still open, and no digit would be lost.
pub(super) fn widen(column: &mut Column, text: &str) -> bool {
    let Data::Long { values, wide } = &mut column.data else { return false };
    if column.fixed {
        return false;
    }
    column.data = match number::classify(text) {
        Class::Fraction if !*wide => Data::Double(values.iter().map(|&value| value as f64).collect()),
        Class::BigInteger if number::decimal(text, 38, 0).is_some() => {
            Data::Decimal { precision: 38, scale: 0, values: values.iter().map(|&value| i128::from(value)).collect() }
        }
        Class::Long(_) | Class::Fraction | Class::BigInteger => return false,
    };
    true
}

fn conflict(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>) {
    reader.rescue(path);
    column.push_null();
}

fn wait(column: &mut Column, reader: &mut Reader<'_, '_>, path: &Path<'_>) {
    let (index, row, json) = (column.len(), reader.row, reader.raw().to_owned());
    let Data::Waiting(pending) = &mut column.data else { panic!("a typed column is asked to wait") };
    pending.push(Pending { index, row, path: path.render(), json });
    column.push_null();
}

/// Gives a waiting column its type, and the values that waited their place in it.
pub(super) fn settle(column: &mut Column, data: Data, rescued: &mut Rescued, level: Level) {
    let len = column.len();
    let settled = Column::new(data);
    let Data::Waiting(pending) = std::mem::replace(column, settled).data else { panic!("the column has a type") };
    for value in pending {
        column.pad_to(value.index);
        let mut reader = Reader::new(&value.json, value.row, rescued);
        let kind = reader.peek();
        append(column, kind, &mut reader, &Path::Rendered(&value.path), level);
    }
    column.pad_to(len);
}

/// Rescues what still waits for a type, and empties columns without one: no row group will have them.
pub(super) fn give_up_waiting(column: &mut Column, rescued: &mut Rescued) {
    match &mut column.data {
        Data::Waiting(pending) => {
            for value in pending.drain(..) {
                rescued.keep(value.row, value.path, &value.json);
            }
        }
        Data::Struct(group) => {
            for slot in &mut group.slots {
                give_up_waiting(&mut slot.column, rescued);
            }
        }
        Data::List(list) => give_up_waiting(&mut list.element, rescued),
        Data::Boolean(_)
        | Data::Int(_)
        | Data::Long { .. }
        | Data::Float(_)
        | Data::Double(_)
        | Data::Decimal { .. }
        | Data::Text(_)
        | Data::Json(_)
        | Data::Foreign(_) => {}
    }
    if !column.is_typed() {
        column.clear();
    }
}

/// What a value would be, were it the first of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// It tells no type.
    Untyped,
    Scalar,
    Struct,
    List {
        mixed: bool,
    },
    /// Too deep or too wide for a struct.
    Json,
}

/// Looks at the value at hand and passes over it.
fn shape(json: &mut Cursor<'_>, level: Level) -> Shape {
    let kind = json.peek().expect(CHECKED);
    let too_deep = level.depth > STRUCT_DEPTH_MAX;
    match kind {
        Kind::Object if !too_deep => shape_of_object(json, level.below()),
        Kind::Array if !too_deep => shape_of_array(json, level.below()),
        Kind::Object | Kind::Array | Kind::Null | Kind::String | Kind::Number | Kind::Bool => {
            json.skip().expect(CHECKED);
            match kind {
                Kind::Object | Kind::Array => Shape::Json,
                Kind::Null => Shape::Untyped,
                Kind::String | Kind::Number | Kind::Bool => Shape::Scalar,
            }
        }
    }
}

fn shape_of_object(json: &mut Cursor<'_>, level: Level) -> Shape {
    json.enter_object().expect(CHECKED);
    let (mut keys, mut typed, mut taken) = (0, false, BTreeSet::new());
    while let Some(key) = json.next_key(keys == 0).expect(CHECKED) {
        keys += 1;
        let null = json.peek().expect(CHECKED) == Kind::Null;
        let tells = shape(json, level) != Shape::Untyped;
        // Only the first value of a key is taken, so only that one tells a type.
        let key = key.decode();
        let field = may_be_field(&key, false);
        typed |= !null && taken.insert(key) && tells && field;
    }
    match (keys > STRUCT_FIELDS_MAX, typed) {
        (true, _) => Shape::Json,
        (false, true) => Shape::Struct,
        (false, false) => Shape::Untyped,
    }
}

fn shape_of_array(json: &mut Cursor<'_>, level: Level) -> Shape {
    json.enter_array().expect(CHECKED);
    let (mut first, mut seen, mut mixed, mut typed) = (true, None, false, false);
    while json.next_element(first).expect(CHECKED) {
        first = false;
        let kind = json.peek().expect(CHECKED);
        typed |= shape(json, level) != Shape::Untyped;
        if kind != Kind::Null {
            mixed |= *seen.get_or_insert(kind) != kind;
        }
    }
    if typed { Shape::List { mixed } } else { Shape::Untyped }
}
