//! The rows of one table while they are gathered, and its schema while it grows.
//!
//! A row is an event: the user's columns from its `after` image (from `before`, if it is a DELETE), then the fixed
//! `_cdc_` columns, then `_cdc_before`, a struct like the user's columns. When a row group is sealed, every column that
//! has a type by then becomes part of the schema: the user's columns of a new table first, then ours; whatever comes
//! later is added at the end.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;

use super::append::{Level, Reader, append_members, give_up_waiting};
use super::cdc::{BEFORE, Cdc, CdcColumns};
use super::column::{Column, Data, Group};
use super::fields::{Numbering, arrow_field, has_leaf};
use super::names::{Doc, Names};
use super::rescue::{Path, Rescued};
use crate::iceberg::schema::{Field, Schema, Type};
use crate::table::job::JobBatch;
use crate::wire::batch::{EventView, Operation, Span};

/// The rows of the row group that is being gathered.
#[derive(Debug)]
pub(super) struct Rows {
    /// The schema as it was given, and whether anything was added since.
    schema: Option<Schema>,
    numbering: Numbering,
    /// The columns of the schema, in its order.
    layout: Vec<Place>,
    user: Group,
    cdc: CdcColumns,
    before: Column,
    rescued: Rescued,
    raw_bytes: u64,
}

/// Where a column of the schema takes its values from.
#[derive(Debug)]
enum Place {
    User(usize),
    Cdc(Cdc, Field),
    Before(Field),
}

/// A sealed row group.
pub(super) struct RowGroup {
    pub(super) rows: RecordBatch,
    /// The schema differs from that of the row group before.
    pub(super) schema_changed: bool,
}

impl Rows {
    pub(super) fn new(schema: Option<Schema>, last_column_id: i32) -> Rows {
        let fields = schema.as_ref().map_or(&[][..], |schema| &schema.fields);
        let numbering = Numbering { names: Names::of(fields), last_id: last_column_id };
        let before = Column::new(Data::Struct(Group::default()));
        let mut rows = Rows {
            schema: None,
            numbering,
            layout: Vec::new(),
            user: Group::default(),
            cdc: CdcColumns::default(),
            before,
            rescued: Rescued::default(),
            raw_bytes: 0,
        };
        for field in fields {
            rows.add_place(field.clone());
        }
        rows.schema = schema;
        rows
    }

    /// Follows a field of the given schema.
    fn add_place(&mut self, field: Field) {
        let cdc =
            Cdc::ALL.into_iter().find(|cdc| Doc::key_of(&field) == cdc.name() && field.field_type == cdc.field_type());
        let place = match (cdc, &field.field_type) {
            (Some(cdc), _) => Place::Cdc(cdc, field),
            (None, Type::Struct(fields)) if Doc::key_of(&field) == BEFORE => {
                self.before = Column { fixed: true, ..Column::new(Data::Struct(Group::of(fields))) };
                Place::Before(field)
            }
            (None, _) => Place::User(self.user.add_field(field)),
        };
        self.layout.push(place);
    }

    pub(super) fn count(&self) -> usize {
        self.cdc.rows()
    }

    /// Bytes of JSON that the rows came from.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    pub(super) fn rescued_values(&self) -> u64 {
        self.rescued.count
    }

    /// Adds an event.
    pub(super) fn push(&mut self, part: &JobBatch, event: &EventView) {
        let row = self.cdc.rows();
        let image = |span: Span| {
            simdutf8::basic::from_utf8(part.batch.bytes(span)).expect("the wire checked the frame's UTF-8")
        };
        let current = match event.operation {
            Operation::Update if mutant!(UpdateKeepsOldImage) => event.before.or(event.after),
            Operation::Insert | Operation::Update => event.after,
            Operation::Delete => event.before,
        };
        if let Some(span) = current {
            let mut reader = Reader::new(image(span), row, &mut self.rescued);
            append_members(&mut self.user, row, &mut reader, &Path::Root, Level::TOP);
        }
        if let (Some(span), Data::Struct(group)) = (event.before, &mut self.before.data) {
            let mut reader = Reader::new(image(span), row, &mut self.rescued);
            let path = Path::Key(&Path::Root, BEFORE);
            append_members(group, row, &mut reader, &path, Level::TOP);
            self.before.nulls.append_n_nulls(row - self.before.nulls.len());
            self.before.nulls.append_non_null();
        }
        self.cdc.push(part, event);
        let spans = [Some(event.row_id), event.before, event.after];
        self.raw_bytes += spans.into_iter().flatten().map(|span| u64::from(span.end - span.start)).sum::<u64>();
    }

    /// Makes arrays of all rows and starts over with none.
    pub(super) fn seal(&mut self) -> RowGroup {
        let rows = self.count();
        let schema_changed = self.settle_schema();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.layout.len());
        let schema = self.arrow_schema();
        let Rows { layout, user, cdc, before, rescued, .. } = self;
        let mut fields = schema.fields().iter();
        for place in layout.iter() {
            if !has_leaf(&place.field(user).field_type) {
                continue;
            }
            let field = fields.next().expect("one Arrow field for each field that Parquet can hold");
            arrays.push(match place {
                Place::User(slot) => user.slots[*slot].column.finish(rows, field.data_type()),
                Place::Cdc(column, _) => cdc.finish(*column, rescued, rows),
                Place::Before(_) => before.finish(rows, field.data_type()),
            });
        }
        cdc.clear_origins();
        self.raw_bytes = 0;
        let rows = RecordBatch::try_new(schema, arrays).expect("the arrays were made for this schema");
        RowGroup { rows, schema_changed }
    }

    /// The schema and the highest field id in use.
    pub(super) fn schema(&self) -> (Schema, i32) {
        let fields: Vec<Field> = self.layout.iter().map(|place| place.field(&self.user).clone()).collect();
        let schema = match &self.schema {
            Some(given) if given.fields == fields => given.clone(),
            Some(given) => Schema { schema_id: given.schema_id + 1, fields },
            None => Schema { schema_id: 0, fields },
        };
        (schema, self.numbering.last_id)
    }

    /// Makes fields of all columns that have a type now, and says whether that changed anything.
    fn settle_schema(&mut self) -> bool {
        let last_id = self.numbering.last_id;
        if let Data::Struct(before) = &mut self.before.data
            && before.slots.iter().any(|slot| slot.column.is_typed())
        {
            before.adopt(&self.user, &mut self.rescued, Level::TOP);
        }
        for slot in &mut self.user.slots {
            give_up_waiting(&mut slot.column, &mut self.rescued);
        }
        give_up_waiting(&mut self.before, &mut self.rescued);
        let known = self.user.order.len();
        self.user.make_fields("", &mut self.numbering);
        self.layout.extend(self.user.order[known..].iter().map(|&slot| Place::User(slot)));
        for cdc in Cdc::ALL {
            if !self.layout.iter().any(|place| matches!(place, Place::Cdc(known, _) if *known == cdc)) {
                let field = self.own_field(cdc.name(), cdc.is_required(), cdc.field_type());
                self.layout.push(Place::Cdc(cdc, field));
            }
        }
        self.settle_before();
        self.numbering.last_id != last_id
    }

    fn settle_before(&mut self) {
        let place = self.layout.iter().position(|place| matches!(place, Place::Before(_)));
        if place.is_none() && !self.before.is_typed() {
            return;
        }
        let place = place.unwrap_or_else(|| {
            let field = self.own_field(BEFORE, false, Type::Struct(Vec::new()));
            self.layout.push(Place::Before(field));
            self.layout.len() - 1
        });
        if let (Some(Place::Before(field)), Data::Struct(group)) = (self.layout.get_mut(place), &mut self.before.data) {
            group.make_fields(&Names::path("", &field.name), &mut self.numbering);
            field.field_type = Type::Struct(group.fields());
        }
    }

    fn own_field(&mut self, key: &str, required: bool, field_type: Type) -> Field {
        let name = self.numbering.names.claim("", key);
        let doc = Doc { key: (name != key).then(|| key.to_owned()), json_lists: None }.render();
        Field { id: self.numbering.next_id(), name, required, field_type, doc }
    }

    fn arrow_schema(&self) -> SchemaRef {
        let fields = self.layout.iter().filter_map(|place| {
            let field = place.field(&self.user);
            let optional = !matches!(place, Place::Cdc(cdc, _) if cdc.is_required());
            has_leaf(&field.field_type).then(|| arrow_field(&field.name, field.id, optional, &field.field_type))
        });
        Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()))
    }
}

impl Place {
    fn field<'a>(&'a self, user: &'a Group) -> &'a Field {
        match self {
            Place::User(slot) => user.slots[*slot].field.as_ref().expect("columns of the layout have fields"),
            Place::Cdc(_, field) | Place::Before(field) => field,
        }
    }
}
