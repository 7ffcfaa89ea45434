//! What must hold within table metadata (specification: "Table Metadata", "Snapshots", "Sequence Numbers").

use std::collections::BTreeSet;

use super::Findings;
use crate::iceberg::metadata::{MAIN, TableMetadata};
use crate::iceberg::schema::{Field, Primitive, Schema, Type};

/// Checks one metadata file.
pub(super) fn check(metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    schemas(metadata, location, findings);
    specs_and_orders(metadata, location, findings);
    snapshots(metadata, location, findings);
    current(metadata, location, findings);
    logs(metadata, location, findings);
}

fn schemas(metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    unique("schema id", metadata.schemas.iter().map(|schema| schema.schema_id), location, findings);
    findings.expect(metadata.current_schema().is_some(), location, || {
        format!("expected current schema {} among the schemas, but it is absent", metadata.current_schema_id)
    });
    for schema in &metadata.schemas {
        let ids: Vec<i32> = nodes(schema).into_iter().map(|node| node.id).collect();
        unique(&format!("field id of schema {}", schema.schema_id), ids.iter().copied(), location, findings);
        let highest = ids.into_iter().max().unwrap_or(0);
        findings.expect(highest <= metadata.last_column_id, location, || {
            format!("expected field ids up to last-column-id {}, got {highest}", metadata.last_column_id)
        });
    }
}

fn specs_and_orders(metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    unique("partition spec id", metadata.partition_specs.iter().map(|spec| spec.spec_id), location, findings);
    unique("sort order id", metadata.sort_orders.iter().map(|order| order.order_id), location, findings);
    let spec = metadata.default_spec_id;
    findings.expect(metadata.partition_spec(spec).is_some(), location, || {
        format!("expected default partition spec {spec} among the specs, but it is absent")
    });
    let order = metadata.default_sort_order_id;
    findings.expect(metadata.sort_orders.iter().any(|known| known.order_id == order), location, || {
        format!("expected default sort order {order} among the orders, but it is absent")
    });
}

fn snapshots(metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    unique("snapshot id", metadata.snapshots.iter().map(|snapshot| snapshot.snapshot_id), location, findings);
    let numbered = metadata.format_version > 1;
    for pair in metadata.snapshots.windows(2) {
        let [before, after] = pair else { continue };
        let id = after.snapshot_id;
        findings.expect(!numbered || before.sequence_number < after.sequence_number, location, || {
            let (before, after) = (before.sequence_number, after.sequence_number);
            format!("snapshot {id}: expected a sequence number above {before}, got {after}")
        });
        findings.expect(before.timestamp_ms <= after.timestamp_ms, location, || {
            let (before, after) = (before.timestamp_ms, after.timestamp_ms);
            format!("snapshot {id}: expected a timestamp not before {before}, got {after}")
        });
    }
    for snapshot in &metadata.snapshots {
        let id = snapshot.snapshot_id;
        findings.expect(snapshot.sequence_number <= metadata.last_sequence_number, location, || {
            let (last, got) = (metadata.last_sequence_number, snapshot.sequence_number);
            format!("snapshot {id}: expected a sequence number up to last-sequence-number {last}, got {got}")
        });
        findings.expect(snapshot.timestamp_ms <= metadata.last_updated_ms, location, || {
            let (last, got) = (metadata.last_updated_ms, snapshot.timestamp_ms);
            format!("snapshot {id}: expected a timestamp up to last-updated-ms {last}, got {got}")
        });
        if let Some(schema) = snapshot.schema_id {
            let known = metadata.schemas.iter().any(|known| known.schema_id == schema);
            findings.expect(known, location, || format!("snapshot {id}: its schema {schema} is absent"));
        }
    }
}

fn current(metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    if let Some(id) = metadata.current_snapshot_id {
        findings.expect(metadata.snapshot(id).is_some(), location, || {
            format!("expected current snapshot {id} among the snapshots, but it is absent")
        });
    }
    for (name, reference) in &metadata.refs {
        let id = reference.snapshot_id;
        findings
            .expect(metadata.snapshot(id).is_some(), location, || format!("ref {name}: its snapshot {id} is absent"));
    }
    let main = metadata.refs.get(MAIN).map(|main| main.snapshot_id);
    findings.expect(main == metadata.current_snapshot_id, location, || {
        format!("expected ref main at the current snapshot {:?}, got {main:?}", metadata.current_snapshot_id)
    });
}

fn logs(metadata: &TableMetadata, location: &str, findings: &mut Findings) {
    let rises = metadata.snapshot_log.is_sorted_by_key(|entry| entry.timestamp_ms);
    findings.expect(rises, location, || "expected the snapshot log in the order of time".to_owned());
    let rises = metadata.metadata_log.is_sorted_by_key(|entry| entry.timestamp_ms);
    findings.expect(rises, location, || "expected the metadata log in the order of time".to_owned());
    if let (Some(last), Some(current)) = (metadata.snapshot_log.last(), metadata.current_snapshot_id) {
        findings.expect(last.snapshot_id == current, location, || {
            format!("expected current snapshot {current} last in the snapshot log, got {}", last.snapshot_id)
        });
    }
}

fn unique<T: Ord + Copy + std::fmt::Display>(
    what: &str,
    ids: impl Iterator<Item = T>,
    location: &str,
    findings: &mut Findings,
) {
    let mut seen = BTreeSet::new();
    for id in ids {
        findings.expect(seen.insert(id), location, || format!("{what} {id} is there twice"));
    }
}

/// Anything in a schema that has an id: a field, an element, a key or a value.
pub(super) struct Node {
    pub(super) id: i32,
    /// `None` for a group, or a type that is not known.
    pub(super) primitive: Option<Primitive>,
}

/// All of a schema, top down.
pub(super) fn nodes(schema: &Schema) -> Vec<Node> {
    let mut found = Vec::new();
    schema.fields.iter().for_each(|field| add_field(field, &mut found));
    found
}

fn add_field(field: &Field, found: &mut Vec<Node>) {
    add(field.id, &field.field_type, found);
}

fn add(id: i32, node_type: &Type, found: &mut Vec<Node>) {
    let primitive = if let Type::Primitive(primitive) = node_type { Some(*primitive) } else { None };
    found.push(Node { id, primitive });
    match node_type {
        Type::Primitive(_) | Type::Other(_) => {}
        Type::Struct(fields) => fields.iter().for_each(|field| add_field(field, found)),
        Type::List(list) => add(list.element_id, &list.element, found),
        Type::Map(map) => {
            add(map.key_id, &map.key, found);
            add(map.value_id, &map.value, found);
        }
    }
}
