//! The array `events` of a batch: every event checked, its row images left where they are.

use std::collections::BTreeMap;

use crate::limits::{BATCH_EVENTS_MAX, BATCH_TABLES_MAX, TABLE_NAME_BYTES_MAX};
use crate::wire::batch::{EventView, Operation, Span};
use crate::wire::error::{NackReason, Parsed, Refusal, quote};
use crate::wire::fields::{Fields, kind, object_or_null, sequence, skip, string, timestamp, wrong};
use crate::wire::json::{Cursor, JsonStr, Kind, span};

/// A checked array of events.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) span: Span,
    pub(super) tables: Vec<String>,
    /// At least one, `sequence` strictly rising.
    pub(super) events: Vec<EventView>,
}

impl Events {
    pub(super) fn first_sequence(&self) -> u64 {
        self.events.first().map_or(0, |event| event.sequence)
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.events.last().map_or(0, |event| event.sequence)
    }

    /// The same array as it stands in another text, where it starts at byte `start`.
    pub(super) fn moved(mut self, start: usize) -> Events {
        let from = self.span.start as usize;
        let to = |old: Span| span(old.start as usize - from + start, old.end as usize - from + start);
        for event in &mut self.events {
            event.row_id = to(event.row_id);
            event.before = event.before.map(to);
            event.after = event.after.map(to);
            event.metadata = event.metadata.map(to);
        }
        self.span = to(self.span);
        self
    }
}

/// Reads the array.
pub(super) fn events(cursor: &mut Cursor<'_>, max_event_bytes: u64) -> Parsed<Events> {
    if kind(cursor)? != Kind::Array {
        return Err(wrong(cursor, "an array of events"));
    }
    let start = cursor.offset();
    let syntax = |cursor: &Cursor<'_>, error| Refusal::syntax(cursor.text(), error);
    cursor.enter_array().map_err(|error| syntax(cursor, error))?;
    let mut events: Vec<EventView> = Vec::new();
    let mut tables = Tables::default();
    while cursor.next_element(events.is_empty()).map_err(|error| syntax(cursor, error))? {
        if events.len() == BATCH_EVENTS_MAX {
            return Err(Refusal::wrong("", format!("at most {BATCH_EVENTS_MAX} events"), "more"));
        }
        let view = event(cursor, &mut tables, max_event_bytes)
            .and_then(|view| rising(events.last(), view))
            .map_err(|error| error.inside(&format!("[{}]", events.len())))?;
        events.push(view);
    }
    if events.is_empty() {
        return Err(Refusal::wrong("", "at least one event", "[]"));
    }
    events.shrink_to_fit();
    Ok(Events { span: span(start, cursor.offset()), tables: tables.names, events })
}

fn rising(last: Option<&EventView>, view: EventView) -> Parsed<EventView> {
    match last {
        Some(last) if view.sequence <= last.sequence => {
            let expected = format!("more than {}, the event before it", last.sequence);
            Err(Refusal::wrong("sequence", expected, view.sequence))
        }
        _ => Ok(view),
    }
}

/// Reads one event.
fn event(cursor: &mut Cursor<'_>, tables: &mut Tables, max_event_bytes: u64) -> Parsed<EventView> {
    let start = cursor.offset();
    let mut found = Found::default();
    let mut fields = Fields::of(cursor)?;
    while let Some(key) = fields.next()? {
        let key = key.decode();
        found.read(&key, &mut fields, tables).map_err(|error| error.inside(&key))?;
    }
    let bytes = (cursor.offset() - start) as u64;
    if bytes > max_event_bytes {
        return Err(Refusal::too_large(NackReason::EventTooLarge, max_event_bytes, bytes));
    }
    found.complete()
}

/// What an event has shown so far.
#[derive(Default)]
struct Found {
    sequence: Option<u64>,
    timestamp_ms: Option<i64>,
    operation: Option<Operation>,
    table: Option<u16>,
    row_id: Option<Span>,
    before: Option<Span>,
    after: Option<Span>,
    metadata: Option<Span>,
}

impl Found {
    #[inline]
    fn read(&mut self, key: &str, fields: &mut Fields<'_, '_>, tables: &mut Tables) -> Parsed<()> {
        match key {
            "sequence" => {
                fields.once(0)?;
                self.sequence = Some(sequence(fields.cursor, 0)?);
            }
            "timestamp" => {
                fields.once(1)?;
                self.timestamp_ms = Some(timestamp(fields.cursor)?);
            }
            "operation" => {
                fields.once(2)?;
                self.operation = Some(operation(fields.cursor)?);
            }
            "table" => {
                fields.once(3)?;
                self.table = Some(tables.index(string(fields.cursor, "a string")?)?);
            }
            "rowId" => {
                fields.once(4)?;
                self.row_id = Some(row_id(fields.cursor)?);
            }
            "before" => {
                fields.once(5)?;
                self.before = object_or_null(fields.cursor)?;
            }
            "after" => {
                fields.once(6)?;
                self.after = object_or_null(fields.cursor)?;
            }
            "metadata" => {
                fields.once(7)?;
                self.metadata = object_or_null(fields.cursor)?;
            }
            _ => {
                skip(fields.cursor)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn complete(self) -> Parsed<EventView> {
        let operation = self.operation.ok_or_else(|| Refusal::missing("operation", OPERATIONS))?;
        match (operation, self.after) {
            (Operation::Insert | Operation::Update, None) => {
                let expected = format!("an object, since operation is \"{}\"", operation.as_str());
                return Err(Refusal::missing("after", expected));
            }
            (Operation::Delete, Some(_)) => {
                return Err(Refusal::wrong("after", "nothing or null, since operation is \"DELETE\"", "an object"));
            }
            (Operation::Insert | Operation::Update, Some(_)) | (Operation::Delete, None) => {}
        }
        Ok(EventView {
            sequence: self.sequence.ok_or_else(|| Refusal::missing("sequence", "an integer"))?,
            timestamp_ms: self.timestamp_ms.ok_or_else(|| Refusal::missing("timestamp", "milliseconds since 1970"))?,
            operation,
            table: self.table.ok_or_else(|| Refusal::missing("table", "a string"))?,
            row_id: self.row_id.ok_or_else(|| Refusal::missing("rowId", "a string"))?,
            before: self.before,
            after: self.after,
            metadata: self.metadata,
        })
    }
}

const OPERATIONS: &str = "\"INSERT\", \"UPDATE\" or \"DELETE\"";

#[inline]
fn operation(cursor: &mut Cursor<'_>) -> Parsed<Operation> {
    let value = string(cursor, OPERATIONS)?;
    match value.raw {
        "INSERT" => Ok(Operation::Insert),
        "UPDATE" => Ok(Operation::Update),
        "DELETE" => Ok(Operation::Delete),
        other => Err(Refusal::wrong("", OPERATIONS, quote(&format!("\"{other}\"")))),
    }
}

#[inline]
fn row_id(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    match kind(cursor)? {
        Kind::String => skip(cursor),
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool | Kind::Null => Err(wrong(cursor, "a string")),
    }
}

/// The tables of a batch, numbered in order of their first event.
#[derive(Default)]
struct Tables {
    names: Vec<String>,
    numbers: BTreeMap<String, u16>,
}

impl Tables {
    #[inline]
    fn index(&mut self, name: JsonStr<'_>) -> Parsed<u16> {
        let name = name.decode();
        match self.numbers.get(&*name) {
            Some(number) => Ok(*number),
            None => self.add(&name),
        }
    }

    #[cold]
    fn add(&mut self, name: &str) -> Parsed<u16> {
        check_table_name(name)?;
        if self.names.len() == BATCH_TABLES_MAX {
            return Err(Refusal::wrong("", format!("at most {BATCH_TABLES_MAX} tables in a batch"), "more"));
        }
        let number = u16::try_from(self.names.len()).expect("BATCH_TABLES_MAX fits into 16 bits");
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }
}

const _: () = assert!(BATCH_TABLES_MAX <= u16::MAX as usize);

/// A table is `name` or `namespace.name`. It becomes part of object keys and of SQL, so neither part is empty, begins
/// or ends with white space, or holds what no store or engine can keep in a name.
fn check_table_name(name: &str) -> Parsed<()> {
    let part_ok = |part: &str| !part.is_empty() && part.trim() == part;
    let char_ok = |char: char| !char.is_control() && char != '/' && char != '\\';
    let ok = name.len() <= TABLE_NAME_BYTES_MAX
        && name.split('.').count() <= 2
        && name.split('.').all(part_ok)
        && name.chars().all(char_ok);
    if ok {
        return Ok(());
    }
    let expected = format!(
        "'name' or 'namespace.name' of at most {TABLE_NAME_BYTES_MAX} bytes, without '/', '\\' and control characters"
    );
    Err(Refusal::wrong("", expected, quote(&format!("{name:?}"))))
}
