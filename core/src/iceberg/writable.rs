//! Whether a commit can follow a table's metadata.
//!
//! [`TableMetadata::parse`] reads whatever the specification knows. What DoLake appends to has to be whole besides: what
//! the document names must be in it, numbers must have room to rise, and files of the current schema must be possible.
//! It is asked once, where metadata comes from the store; [`super::commit`] relies on it.

use std::collections::BTreeSet;

use super::metadata::{MAIN, TableMetadata};
use super::metadata_json::MetadataError;
use super::schema::{Field, Primitive, Type};

/// A number that rises with every commit and is above this was damaged: no table lives so long.
const RISING_MAX: i64 = 1 << 62;

/// The same for ids of fields and schemas.
const ID_MAX: i32 = 1 << 30;

/// Digits of a decimal (specification: "Primitive Types").
const DECIMAL_DIGITS_MAX: u32 = 38;

/// Length of a `fixed` in bytes, as Parquet and Avro count it.
const FIXED_BYTES_MAX: u64 = i32::MAX as u64;

type Checked = Result<(), MetadataError>;

impl TableMetadata {
    /// Whether a commit can follow this metadata.
    ///
    /// # Errors
    /// It is of a version or kind that DoLake does not write, or it contradicts itself.
    pub fn check_writable(&self) -> Checked {
        let version = self.format_version;
        check(version == 2, "format-version", || {
            format!("expected 2, got {version}; upgrade the table, or let DoLake write to another one")
        })?;
        self.check_numbers()?;
        self.check_current_schema()?;
        self.check_default_spec()?;
        self.check_current_snapshot()
    }

    fn check_numbers(&self) -> Checked {
        let rising = [("last-sequence-number", self.last_sequence_number), ("last-updated-ms", self.last_updated_ms)];
        for (key, value) in rising {
            check((0..=RISING_MAX).contains(&value), key, || format!("expected 0 to {RISING_MAX}, got {value}"))?;
        }
        let newest = self.snapshots.iter().map(|snapshot| snapshot.sequence_number).max().unwrap_or(0);
        check(newest <= self.last_sequence_number, "last-sequence-number", || {
            format!("expected at least that of each snapshot ({newest}), got {}", self.last_sequence_number)
        })?;
        let highest = self.schemas.iter().map(|schema| schema.max_id()).max().unwrap_or(0);
        check((highest..=ID_MAX).contains(&self.last_column_id), "last-column-id", || {
            format!("expected {highest}, which a field has, to {ID_MAX}, got {}", self.last_column_id)
        })?;
        let ids = || self.schemas.iter().map(|schema| schema.schema_id);
        check(ids().all(|id| (0..=ID_MAX).contains(&id)), "schemas", || {
            format!("expected ids of 0 to {ID_MAX}, got {:?}", ids().collect::<Vec<_>>())
        })
    }

    fn check_current_schema(&self) -> Checked {
        let Some(schema) = self.current_schema() else {
            return Err(missing("current-schema-id", "a schema", i64::from(self.current_schema_id)));
        };
        let mut ids = BTreeSet::new();
        schema.fields.iter().try_for_each(|field| check_field(field, &mut ids))
    }

    fn check_default_spec(&self) -> Checked {
        let Some(spec) = self.partition_spec(self.default_spec_id) else {
            return Err(missing("default-spec-id", "a partition spec", i64::from(self.default_spec_id)));
        };
        check(spec.fields.is_empty(), "default-spec-id", || {
            format!("expected an unpartitioned spec, got {}, which has {} fields", spec.spec_id, spec.fields.len())
        })
    }

    /// A current snapshot that is not there, or whose manifests are not known, must not be taken for an empty table.
    fn check_current_snapshot(&self) -> Checked {
        let main = self.refs.get(MAIN).map(|main| main.snapshot_id);
        check(main == self.current_snapshot_id, "refs", || {
            format!("expected main to be current-snapshot-id ({:?}), got {main:?}", self.current_snapshot_id)
        })?;
        let Some(id) = self.current_snapshot_id else { return Ok(()) };
        let Some(snapshot) = self.snapshot(id) else {
            return Err(missing("current-snapshot-id", "a snapshot", id));
        };
        check(snapshot.manifest_list.is_some(), "snapshots", || format!("snapshot {id}: expected a manifest-list"))
    }
}

fn check_field(field: &Field, ids: &mut BTreeSet<i32>) -> Checked {
    check_id(field.id, ids)?;
    check_type(&field.field_type, ids)
}

fn check_id(id: i32, ids: &mut BTreeSet<i32>) -> Checked {
    check(ids.insert(id), "schemas", || format!("expected each field id once in the current schema, got {id} twice"))
}

fn check_type(field_type: &Type, ids: &mut BTreeSet<i32>) -> Checked {
    match field_type {
        Type::Other(_) => Ok(()),
        Type::Struct(fields) => fields.iter().try_for_each(|field| check_field(field, ids)),
        Type::List(list) => {
            check_id(list.element_id, ids)?;
            check_type(&list.element, ids)
        }
        Type::Map(map) => {
            check_id(map.key_id, ids)?;
            check_id(map.value_id, ids)?;
            check_type(&map.key, ids)?;
            check_type(&map.value, ids)
        }
        Type::Primitive(primitive) => check_primitive(*primitive),
    }
}

fn check_primitive(primitive: Primitive) -> Checked {
    let is_possible = match primitive {
        Primitive::Decimal { precision, scale } => (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision,
        Primitive::Fixed(length) => (1..=FIXED_BYTES_MAX).contains(&length),
        Primitive::Boolean
        | Primitive::Int
        | Primitive::Long
        | Primitive::Float
        | Primitive::Double
        | Primitive::Date
        | Primitive::Time
        | Primitive::Timestamp
        | Primitive::Timestamptz
        | Primitive::String
        | Primitive::Uuid
        | Primitive::Binary => true,
    };
    check(is_possible, "schemas", || {
        format!(
            "expected decimals of 1 to {DECIMAL_DIGITS_MAX} digits and fixed types of 1 to {FIXED_BYTES_MAX} bytes, got \
             {primitive}"
        )
    })
}

fn check(holds: bool, key: &'static str, problem: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(MetadataError::Member { key, problem: problem() }) }
}

fn missing(key: &'static str, what: &str, id: i64) -> MetadataError {
    MetadataError::Member { key, problem: format!("expected {what} of the metadata, got {id}, which is absent") }
}

#[cfg(test)]
#[path = "writable_tests.rs"]
mod tests;
