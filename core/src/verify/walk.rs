//! The walk over snapshots, manifest lists, manifests and files. Each object is read once, however many snapshots name it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::sequences::Sequences;
use super::{Findings, TableReport, fetch, parquet_file};
use crate::iceberg::container::Schemas;
use crate::iceberg::data_file::{Content, DataFile};
use crate::iceberg::manifest::{self, ManifestEntry, Status};
use crate::iceberg::manifest_list::{self, FileCount, ManifestContent, ManifestFile};
use crate::iceberg::metadata::{Kept, Snapshot, TableMetadata};

/// Walks everything that `metadata` names; what it finds untrue is in `findings`. `None`: the walk could not end.
pub(super) fn walk(
    metadata: &TableMetadata,
    metadata_location: &str,
    read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
    findings: &mut Findings,
) -> Option<TableReport> {
    let mut walk = Walk {
        metadata,
        schemas: Schemas::default(),
        sequences: Sequences::of(metadata),
        manifests: BTreeMap::new(),
        files: BTreeMap::new(),
        last_named_in: Vec::new(),
        report: TableReport {
            table_uuid: metadata.table_uuid,
            location: metadata.location.clone(),
            current_snapshot_id: metadata.current_snapshot_id,
            snapshots: metadata.snapshots.len() as u64,
            ..TableReport::default()
        },
    };
    walk.report.named.insert(metadata_location.to_owned());
    // The current snapshot first: the rows of its files are also what a reader sees.
    let current = metadata.current_snapshot();
    let others =
        metadata.snapshots.iter().filter(|snapshot| Some(snapshot.snapshot_id) != metadata.current_snapshot_id);
    for (n, snapshot) in current.into_iter().chain(others).enumerate() {
        let is_current = Some(snapshot.snapshot_id) == metadata.current_snapshot_id;
        walk.snapshot(n, snapshot, is_current, read, findings);
        if findings.full() {
            return None;
        }
    }
    walk.report.sequences = walk.sequences.into_found();
    Some(walk.report)
}

struct Walk<'a> {
    metadata: &'a TableMetadata,
    schemas: Schemas,
    sequences: Sequences,
    /// By location: what was read of each manifest.
    manifests: BTreeMap<String, SeenManifest>,
    /// By location: the number of each file.
    files: BTreeMap<String, SeenFile>,
    /// By number of a file: the last snapshot that named it, as its place in the walk.
    last_named_in: Vec<usize>,
    report: TableReport,
}

struct SeenManifest {
    listed: ManifestFile,
    /// Numbers of its live files.
    live: Vec<usize>,
    live_files: FileCount,
}

struct SeenFile {
    number: usize,
    rows: u64,
    bytes: u64,
}

/// No snapshot.
const NOWHERE: usize = usize::MAX;

impl Walk<'_> {
    fn snapshot(
        &mut self,
        n: usize,
        snapshot: &Kept<Snapshot>,
        is_current: bool,
        read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
        findings: &mut Findings,
    ) {
        let Some(location) = &snapshot.manifest_list else {
            let what = format!("snapshot {}: expected a manifest list, got none", snapshot.snapshot_id);
            return findings.add(&self.metadata.location, what);
        };
        self.report.named.insert(location.clone());
        let Some(bytes) = fetch(location, read, findings) else { return };
        let manifests = match manifest_list::read(&bytes, &mut self.schemas) {
            Ok(manifests) => manifests,
            Err(error) => return findings.add(location, error.to_string()),
        };
        let mut data = FileCount::default();
        for listed in &manifests {
            self.manifest(listed, location, snapshot, is_current, read, findings);
            let Some(seen) = self.manifests.get(&listed.manifest_path) else { continue };
            if listed.content == ManifestContent::Data {
                data.files += seen.live_files.files;
                data.rows += seen.live_files.rows;
            }
            for file in &seen.live {
                let Some(last) = self.last_named_in.get_mut(*file) else { continue };
                if *last == n {
                    let path = self.files.iter().find(|(_, seen)| seen.number == *file).map_or("?", |(path, _)| path);
                    let what = format!("snapshot {}: it is named twice as a live file", snapshot.snapshot_id);
                    findings.add(path, what);
                }
                *last = n;
            }
        }
        totals(snapshot, data, location, findings);
    }

    /// Checks what a manifest list says of a manifest, and reads the manifest if it is met for the first time.
    fn manifest(
        &mut self,
        listed: &ManifestFile,
        list_location: &str,
        snapshot: &Snapshot,
        is_current: bool,
        read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
        findings: &mut Findings,
    ) {
        let path = &listed.manifest_path;
        findings.expect(listed.sequence_number <= snapshot.sequence_number, list_location, || {
            let (most, got) = (snapshot.sequence_number, listed.sequence_number);
            format!("manifest {path}: expected a sequence number up to the snapshot's {most}, got {got}")
        });
        if let Some(seen) = self.manifests.get(path) {
            findings.expect(seen.listed == *listed, list_location, || {
                format!("manifest {path}: two manifest lists say different things of it")
            });
            return;
        }
        if !self.report.named.insert(path.clone()) {
            return;
        }
        let Some(bytes) = fetch(path, read, findings) else { return };
        findings.expect(bytes.len() as u64 == listed.manifest_length, path, || {
            format!("expected {} bytes, got {}", listed.manifest_length, bytes.len())
        });
        findings.expect(self.metadata.partition_spec(listed.partition_spec_id).is_some(), path, || {
            format!("its partition spec {} is absent", listed.partition_spec_id)
        });
        let mut entries = match manifest::read(&bytes, &mut self.schemas) {
            Ok(entries) => entries,
            Err(error) => return findings.add(path, error.to_string()),
        };
        drop(bytes);
        entries.iter_mut().for_each(|entry| entry.inherit(listed));
        counts(listed, &entries, list_location, findings);
        let mut seen = SeenManifest { listed: listed.clone(), live: Vec::new(), live_files: FileCount::default() };
        for entry in entries.into_iter().filter(|entry| entry.status != Status::Deleted) {
            self.entry(&entry, listed, findings);
            seen.live_files.files += 1;
            seen.live_files.rows += entry.file.metrics.record_count;
            seen.live.push(self.file(&entry.file, path, is_current, read, findings));
            if findings.full() {
                return;
            }
        }
        self.manifests.insert(path.clone(), seen);
    }

    /// Checks an entry against its manifest.
    fn entry(&self, entry: &ManifestEntry, listed: &ManifestFile, findings: &mut Findings) {
        let (location, path) = (&listed.manifest_path, &entry.file.file_path);
        let is_data = entry.file.content == Content::Data;
        findings.expect(is_data == (listed.content == ManifestContent::Data), location, || {
            format!(
                "{path}: expected {} as in the whole manifest, got {:?}",
                listed.content.as_str(),
                entry.file.content
            )
        });
        match entry.sequence_number {
            None => findings.add(location, format!("{path}: expected a sequence number, got none")),
            Some(number) => findings.expect(
                (listed.min_sequence_number..=listed.sequence_number).contains(&number),
                location,
                || {
                    let (least, most) = (listed.min_sequence_number, listed.sequence_number);
                    format!("{path}: expected a sequence number of {least} to {most}, got {number}")
                },
            ),
        }
        let fields = self.metadata.partition_spec(listed.partition_spec_id).map(|spec| spec.fields.len());
        findings.expect(fields.is_none_or(|fields| fields == entry.file.partition.len()), location, || {
            format!("{path}: expected {fields:?} partition values, got {}", entry.file.partition.len())
        });
    }

    /// Reads a file if it is met for the first time; its number.
    fn file(
        &mut self,
        file: &DataFile,
        manifest: &str,
        is_current: bool,
        read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
        findings: &mut Findings,
    ) -> usize {
        let path = &file.file_path;
        let (rows, bytes) = (file.metrics.record_count, file.file_size_bytes);
        if let Some(seen) = self.files.get(path) {
            findings.expect((seen.rows, seen.bytes) == (rows, bytes), manifest, || {
                format!("{path}: two manifests say different things of it")
            });
            return seen.number;
        }
        let number = self.last_named_in.len();
        self.last_named_in.push(NOWHERE);
        self.files.insert(path.clone(), SeenFile { number, rows, bytes });
        self.report.named.insert(path.clone());
        if is_current {
            match file.content {
                Content::Data => {
                    self.report.data_files += 1;
                    self.report.rows += rows;
                    self.report.bytes += bytes;
                }
                Content::PositionDeletes | Content::EqualityDeletes => self.report.delete_files += 1,
            }
        }
        let Some(contents) = fetch(path, read, findings) else { return number };
        if contents.len() as u64 != bytes {
            findings.add(path, format!("expected {bytes} bytes, got {}", contents.len()));
        } else if file.file_format != "PARQUET" {
            self.report.unread_files += 1;
        } else if file.content == Content::Data {
            // A damaged file can make the Parquet reader itself panic, as in a division by a count that it holds.
            let read = catch_unwind(AssertUnwindSafe(|| {
                parquet_file::check(file, &contents, self.metadata, findings);
                if is_current {
                    self.sequences.read(path, contents, findings);
                }
            }));
            if read.is_err() {
                findings.add(path, "expected a Parquet file, got one that its reader gives up on".to_owned());
            }
        }
        number
    }
}

/// Checks the counts of a manifest list against the manifest.
fn counts(listed: &ManifestFile, entries: &[ManifestEntry], list_location: &str, findings: &mut Findings) {
    let statuses = [
        (Status::Added, listed.added_files, "added"),
        (Status::Existing, listed.existing_files, "existing"),
        (Status::Deleted, listed.deleted_files, "deleted"),
    ];
    for (status, said, name) in statuses {
        let mut found = FileCount::default();
        for entry in entries.iter().filter(|entry| entry.status == status) {
            found.files += 1;
            found.rows += entry.file.metrics.record_count;
        }
        findings.expect(found == said, list_location, || {
            let (path, files, rows) = (&listed.manifest_path, said.files, said.rows);
            format!(
                "manifest {path}: expected {files} {name} files of {rows} rows, got {} of {}",
                found.files, found.rows
            )
        });
    }
}

/// Checks the totals of a snapshot's summary, where it has them.
fn totals(snapshot: &Kept<Snapshot>, data: FileCount, list_location: &str, findings: &mut Findings) {
    let summary = snapshot.summary();
    for (key, found) in [("total-data-files", data.files), ("total-records", data.rows)] {
        let Some(said) = summary.get(key) else { continue };
        findings.expect(*said == found.to_string(), list_location, || {
            format!("snapshot {}: expected {key} {said}, got {found}", snapshot.snapshot_id)
        });
    }
}
