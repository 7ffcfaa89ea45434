//! What the tests of this room share.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use super::commit::{self, Append, Base, Staged};
use super::container::Schemas;
use super::data_file::{ColumnMetrics, DataFile, Metrics};
use super::schema::{Field, Primitive, Schema, Type};

pub(super) fn column(id: i32, name: &str, primitive: Primitive) -> Field {
    Field { id, name: name.to_owned(), required: false, field_type: Type::Primitive(primitive), doc: None }
}

pub(super) fn schema() -> Schema {
    Schema { schema_id: 0, fields: vec![column(1, "id", Primitive::Long), column(2, "name", Primitive::String)] }
}

pub(super) fn data_file(n: u64) -> DataFile {
    let id = ColumnMetrics {
        size_bytes: 80,
        value_count: Some(10),
        null_count: Some(0),
        nan_count: None,
        lower_bound: Some((n * 10).to_le_bytes().to_vec()),
        upper_bound: Some((n * 10 + 9).to_le_bytes().to_vec()),
    };
    let name =
        ColumnMetrics { size_bytes: 90, value_count: Some(10), null_count: Some(10), ..ColumnMetrics::default() };
    let metrics = Metrics { record_count: 10, split_offsets: vec![4], columns: BTreeMap::from([(1, id), (2, name)]) };
    DataFile::parquet(format!("file:/lake/t/data/{n:05}.parquet"), 1_000 + n, metrics)
}

/// The n-th commit: one file of ten rows.
pub(super) fn change(n: u64) -> Append {
    Append {
        location: "file:/lake/t".to_owned(),
        table_uuid: Uuid::from_u128(0xabc),
        files: vec![data_file(n)],
        schema: schema(),
        last_column_id: 2,
        snapshot_id: 5_000 - n as i64,
        now_ms: 1_700_000_000_000 + n as i64 * 1_000,
        summary: BTreeMap::from([("dolake.flush".to_owned(), n.to_string())]),
        properties: BTreeMap::from([("dolake.flush.0".to_owned(), n.to_string())]),
        name: Uuid::from_u128(u128::from(n)),
        max_snapshots: 1_000,
        merged: Vec::new(),
    }
}

/// A table and everything that was ever written of it.
#[derive(Default)]
pub(super) struct Table {
    pub(super) last: Option<Staged>,
    pub(super) store: BTreeMap<String, Bytes>,
}

impl Table {
    /// A table of `commits` commits.
    pub(super) fn of(commits: u64) -> Table {
        let mut table = Table::default();
        (0..commits).for_each(|n| table.commit(change(n)));
        table
    }

    pub(super) fn staged(&self) -> &Staged {
        self.last.as_ref().expect("a commit")
    }

    pub(super) fn base(&self) -> Option<Base<'_>> {
        self.last.as_ref().map(|staged| Base {
            metadata: &staged.metadata,
            metadata_location: &staged.metadata_location,
            manifests: &staged.manifests,
        })
    }

    /// Commits, merging manifests when it is time.
    pub(super) fn commit(&mut self, mut change: Append) {
        if let Some(last) = &self.last {
            let read = |n: usize| {
                let manifest = &last.manifests[n];
                let entries =
                    commit::live_entries(manifest, &self.store[&manifest.manifest_path], &mut Schemas::default());
                (n, entries.expect("it was written well"))
            };
            change.merged = commit::to_merge(&last.manifests).into_iter().map(read).collect();
        }
        let staged = commit::append(self.base(), &change).expect("commits");
        for (location, bytes) in &staged.objects {
            let before = self.store.insert(location.clone(), bytes.clone());
            assert_eq!(before, None, "{location} is written once");
        }
        self.last = Some(staged);
    }
}
