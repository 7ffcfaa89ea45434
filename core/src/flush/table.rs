//! One table's part of a flush: read what it builds on, encode, write files, write metadata.
//!
//! Nothing here is visible to a reader: the pointer moves with the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::state::Tables;
use crate::catalog::{TableIdent, TablePointer, free_folder, free_ident, split_table_name};
use crate::command::Class;
use crate::context::Context;
use crate::flush::Bases;
use crate::flush::call::{Action, StoreCall};
use crate::flush::frontier::TableFrontier;
use crate::flush::parked::{Share, bytes_of};
use crate::iceberg::commit::{self, Append, Garbage, Staged};
use crate::iceberg::container::Schemas;
use crate::iceberg::data_file::DataFile;
use crate::iceberg::manifest::ManifestEntry;
use crate::iceberg::manifest_list::{self, ManifestFile};
use crate::iceberg::metadata::TableMetadata;
use crate::iceberg::schema::Schema;
use crate::limits::{SUMMARY_SOURCES_BYTES_MAX, TABLE_ATTEMPTS_MAX};
use crate::pending::Pending;
use crate::table::job::{EncodeOptions, Job, JobOutput};

/// What a commit builds on.
#[derive(Debug)]
pub(crate) struct Base {
    /// The table's current metadata.
    pub(crate) metadata: TableMetadata,
    /// Where that stands.
    pub(crate) location: String,
    /// The manifests of its current snapshot.
    pub(crate) manifests: Vec<ManifestFile>,
    /// `dolake.frontier`.
    pub(crate) frontier: TableFrontier,
    /// Its memory, about, in bytes.
    pub(crate) weight: usize,
}

impl Base {
    /// The manifests that the next commit merges. What another writer partitioned by a spec that is gone stays as it is.
    fn to_merge(&self) -> Vec<usize> {
        let is_unpartitioned = |index: &usize| {
            let spec = self.manifests.get(*index).and_then(|file| self.metadata.partition_spec(file.partition_spec_id));
            spec.is_some_and(|spec| spec.fields.is_empty())
        };
        commit::to_merge(&self.manifests).into_iter().filter(is_unpartitioned).collect()
    }
}

/// A batch's share in a table: its source and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) epoch: String,
    pub(crate) first: u64,
    pub(crate) through: u64,
    pub(crate) event: u64,
}

/// One table of a flush.
#[derive(Debug)]
pub(crate) struct TablePart {
    /// The table's name as events spell it.
    pub(crate) cdc_table: String,
    pub(crate) ident: TableIdent,
    pub(crate) pointer: TablePointer,
    /// The key of the table's folder.
    pub(crate) root: String,
    /// How often its store commands failed, since the events were encoded.
    failures: u32,
    pub(crate) staged: Option<Staged>,
    pub(crate) files: Vec<DataFile>,
    pub(crate) frontier: TableFrontier,
    pub(crate) newest_event_ms: i64,
    /// Length of the new metadata file.
    pub(crate) metadata_bytes: usize,
    is_new: bool,
    base: Option<Arc<Base>>,
    reading: Reading,
    schemas: Schemas,
    /// Its events, batch by batch; those that were parked come first.
    pub(crate) shares: Vec<Share>,
    /// Where objects of it may stand now.
    written: Vec<String>,
    output: Option<JobOutput>,
    merging: BTreeMap<usize, Option<Vec<ManifestEntry>>>,
    open_writes: usize,
}

/// Parts of a base that have come so far.
#[derive(Debug, Default)]
struct Reading {
    metadata: Option<TableMetadata>,
    metadata_bytes: usize,
    manifests: Option<Vec<ManifestFile>>,
    frontier: Option<TableFrontier>,
}

impl TablePart {
    /// The part of the table that `cdc_table` is bound to; a new one if it is bound to none.
    pub(crate) fn new(
        cdc_table: String,
        shares: Vec<Share>,
        tables: &Tables,
        taken: &BTreeSet<TableIdent>,
        cx: &mut Context<'_>,
    ) -> TablePart {
        let bound = tables.bound(&cdc_table).and_then(|ident| Some((ident, tables.pointers.get(ident)?)));
        let is_new = bound.is_none();
        let (ident, pointer) = match bound {
            Some((ident, pointer)) => (ident.clone(), pointer.clone()),
            None => new_table(&cdc_table, tables, taken, cx),
        };
        let root = format!("{}/{}", cx.config.r2_base_path, pointer.folder);
        TablePart {
            cdc_table,
            ident,
            pointer,
            root,
            failures: 0,
            staged: None,
            files: Vec::new(),
            frontier: TableFrontier::default(),
            newest_event_ms: i64::MIN,
            metadata_bytes: 0,
            is_new,
            base: None,
            reading: Reading::default(),
            schemas: Schemas::default(),
            shares,
            written: Vec::new(),
            output: None,
            merging: BTreeMap::new(),
            open_writes: 0,
        }
    }

    /// Whether all its objects are in the store.
    pub(crate) fn is_ready(&self) -> bool {
        self.staged.is_some() && self.open_writes == 0
    }

    /// Whether some of its events were parked, so that this is not their first flush.
    pub(crate) fn is_retry(&self) -> bool {
        self.shares.first().is_some_and(|share| share.parked.is_some())
    }

    /// Whether it failed so often that it should hold up no other table. One that was parked is tried once.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.is_ready() && self.failures >= if self.is_retry() { 1 } else { TABLE_ATTEMPTS_MAX }
    }

    /// What its new events count when they are parked.
    pub(crate) fn new_bytes(&self) -> u64 {
        bytes_of(self.shares.iter().filter(|share| share.parked.is_none()))
    }

    /// A store command of it failed that was issued in this round. Commands of one round count as one failure. Returns
    /// whether this is the first of its round.
    pub(crate) fn failed(&mut self, round: u32) -> bool {
        let is_first = round == self.failures;
        self.failures += u32::from(is_first);
        is_first
    }

    /// How often it failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Gives it up: its events, and where it may have left objects.
    pub(crate) fn give_up(self) -> (Vec<Share>, Vec<String>) {
        (self.shares, self.written)
    }

    /// Starts reading its base, or encoding when that is at hand.
    pub(crate) fn begin(&mut self, flush: u64, bases: &mut Bases, cx: &mut Context<'_>) {
        if self.is_new {
            self.encode(cx);
        } else if let Some(base) = bases.get(&self.ident) {
            self.base = Some(base);
            self.encode(cx);
        } else {
            let location = self.pointer.metadata_location.clone();
            self.read(flush, &location, Action::ReadMetadata, cx);
        }
    }

    /// A store command brought `bytes`, or wrote what it should.
    ///
    /// # Errors
    /// What it brought cannot be read.
    pub(crate) fn stored(
        &mut self,
        flush: u64,
        attempt: u32,
        action: &Action,
        bytes: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        match action {
            Action::ReadMetadata => {
                let metadata = TableMetadata::parse(bytes).map_err(|error| error.to_string())?;
                self.check_base(&metadata, cx)?;
                self.reading.metadata_bytes = bytes.len();
                self.metadata_read(flush, metadata, cx);
            }
            Action::ReadManifestList => {
                self.reading.manifests =
                    Some(manifest_list::read(bytes, &mut self.schemas).map_err(|error| error.to_string())?);
            }
            Action::ReadFrontier => {
                self.reading.frontier = Some(TableFrontier::parse(bytes).map_err(|error| error.to_string())?);
            }
            Action::ReadManifest(index) => {
                let base = self.base.as_ref().expect("only a base has manifests to merge");
                let entries = commit::live_entries(&base.manifests[*index], bytes, &mut self.schemas)
                    .map_err(|error| error.to_string())?;
                self.merging.insert(*index, Some(entries));
                if self.merging.values().all(Option::is_some) {
                    self.stage(flush, attempt, cx);
                }
                return Ok(());
            }
            Action::Write(_) => {
                self.open_writes -= 1;
                return Ok(());
            }
        }
        self.base_complete(cx);
        Ok(())
    }

    /// Whether metadata is this table's, and a commit can follow it.
    fn check_base(&self, metadata: &TableMetadata, cx: &Context<'_>) -> Result<(), String> {
        metadata.check_writable().map_err(|error| error.to_string())?;
        let (expected, found) = (self.pointer.uuid, metadata.table_uuid);
        if found != Some(expected) {
            return Err(format!(
                "table metadata, table-uuid: expected {expected}, got {found:?}: it is another table's"
            ));
        }
        match cx.key_of(&metadata.location) {
            Some(_) => Ok(()),
            None => Err(format!(
                "table metadata, location: expected a folder of the store {}, got {}",
                cx.location, metadata.location
            )),
        }
    }

    fn metadata_read(&mut self, flush: u64, metadata: TableMetadata, cx: &mut Context<'_>) {
        match metadata.current_snapshot().and_then(|snapshot| snapshot.manifest_list.clone()) {
            Some(location) => self.read(flush, &location, Action::ReadManifestList, cx),
            None => self.reading.manifests = Some(Vec::new()),
        }
        match TableFrontier::of(&metadata.properties) {
            Ok(frontier) => self.reading.frontier = Some(frontier),
            Err(location) => self.read(flush, &location, Action::ReadFrontier, cx),
        }
        self.reading.metadata = Some(metadata);
    }

    fn base_complete(&mut self, cx: &mut Context<'_>) {
        let reading = std::mem::take(&mut self.reading);
        match reading {
            Reading {
                metadata: Some(metadata),
                metadata_bytes,
                manifests: Some(manifests),
                frontier: Some(frontier),
            } => {
                let location = self.pointer.metadata_location.clone();
                let weight = weigh(metadata_bytes, &manifests);
                self.base = Some(Arc::new(Base { metadata, location, manifests, frontier, weight }));
                self.encode(cx);
            }
            incomplete => self.reading = incomplete,
        }
    }

    fn encode(&mut self, cx: &mut Context<'_>) {
        let metadata = self.base.as_ref().map(|base| &base.metadata);
        let job = Job {
            table: self.cdc_table.clone(),
            schema: metadata.and_then(TableMetadata::current_schema).map(|schema| Schema::clone(schema)),
            last_column_id: metadata.map_or(0, |metadata| metadata.last_column_id),
            options: EncodeOptions {
                compression: cx.config.parquet_compression,
                row_group_rows: cx.config.parquet_row_group_size,
                row_group_bytes: cx.config.parquet_row_group_bytes,
                target_file_size_bytes: cx.config.target_file_size_bytes,
            },
            batches: self.shares.iter().map(Share::job_batch).collect(),
        };
        self.failures = 0;
        let newest = job.batches.iter().filter_map(|batch| batch.newest_event_ms(&job.table)).max();
        self.newest_event_ms = newest.unwrap_or(i64::MIN);
        cx.work(Class::Flush, job, Pending::Encode { table: self.cdc_table.clone() });
    }

    /// Its rows are Parquet: the files are written, and the metadata too as soon as it can be made.
    pub(crate) fn encoded(&mut self, flush: u64, attempt: u32, mut output: JobOutput, cx: &mut Context<'_>) {
        for (n, file) in std::mem::take(&mut output.files).into_iter().enumerate() {
            let key = format!("{}/data/{flush:08}-{attempt:03}-{n:05}.parquet", self.root);
            self.files.push(DataFile::parquet(cx.uri(&key), file.bytes.len() as u64, file.metrics));
            self.write(flush, key, file.bytes, cx);
        }
        assert!(!self.files.is_empty(), "a table without rows is no part of a flush: {}", self.cdc_table);
        self.output = Some(output);
        let base = self.base.clone();
        let merge = base.iter().flat_map(|base| base.to_merge()).collect::<Vec<_>>();
        if merge.is_empty() {
            self.stage(flush, attempt, cx);
            return;
        }
        for index in merge {
            let base = base.as_ref().expect("only a base has manifests to merge");
            self.merging.insert(index, None);
            self.read(flush, &base.manifests[index].manifest_path.clone(), Action::ReadManifest(index), cx);
        }
    }

    fn stage(&mut self, flush: u64, attempt: u32, cx: &mut Context<'_>) {
        let output = self.output.take().expect("a table is staged once, after it is encoded");
        let mut frontier = self.base.as_ref().map(|base| base.frontier.clone()).unwrap_or_default();
        let sources: Vec<Source> = self.shares.iter().map(Share::source).collect();
        if !mutant!(TableFrontierStale) {
            frontier.moved(&sources);
        }
        let (value, object) =
            frontier.property(|| cx.uri(&format!("{}/metadata/frontier-{flush:08}-{attempt:03}.json", self.root)));
        if let Some(bytes) = object {
            let key = cx.key_of(&value).expect("the frontier object lies in this store");
            self.write(flush, key, bytes, cx);
        }
        self.frontier = frontier;
        let base = self.base.clone();
        let former_frontier = base.as_ref().and_then(|base| TableFrontier::of(&base.metadata.properties).err());
        let merged = std::mem::take(&mut self.merging);
        let change = Append {
            location: cx.uri(&self.root),
            table_uuid: self.pointer.uuid,
            files: self.files.clone(),
            schema: output.schema,
            last_column_id: output.last_column_id,
            snapshot_id: cx.draws.snapshot_id(),
            now_ms: cx.wall.0,
            summary: summary(flush, &sources),
            properties: properties(flush, value, self.is_new),
            name: cx.draws.uuid(),
            max_snapshots: cx.config.max_snapshots,
            merged: merged.into_iter().filter_map(|(index, entries)| Some((index, entries?))).collect(),
        };
        let base = base.as_deref().map(|base| commit::Base {
            metadata: &base.metadata,
            metadata_location: &base.location,
            manifests: &base.manifests,
        });
        let mut staged = commit::append(base, &change)
            .unwrap_or_else(|error| panic!("the commit of table {} breaks a rule of Iceberg: {error}", self.cdc_table));
        // What the property named before is read by nobody any more: only the current version's counts.
        if let Some(location) = former_frontier {
            staged.garbage.push(Garbage { location, named_below: 0 });
        }
        self.metadata_bytes = staged.objects.last().map_or(0, |(_, bytes)| bytes.len());
        for (location, bytes) in std::mem::take(&mut staged.objects) {
            let key = cx.key_of(&location).expect("metadata lies in this store");
            self.write(flush, key, bytes, cx);
        }
        self.staged = Some(staged);
    }

    fn write(&mut self, flush: u64, key: String, bytes: Bytes, cx: &mut Context<'_>) {
        self.open_writes += 1;
        self.written.push(cx.uri(&key));
        self.call(flush, key, Action::Write(bytes), cx);
    }

    fn read(&self, flush: u64, location: &str, action: Action, cx: &mut Context<'_>) {
        let key = cx.key_of(location).unwrap_or_else(|| location.to_owned());
        self.call(flush, key, action, cx);
    }

    fn call(&self, flush: u64, key: String, action: Action, cx: &mut Context<'_>) {
        let (table, round, is_retry) = (self.cdc_table.clone(), self.failures, self.is_retry());
        StoreCall { flush, table, key, round, is_retry, action }.issue(cx);
    }
}

/// About the memory of a base, in bytes.
pub(crate) fn weigh(metadata_bytes: usize, manifests: &[ManifestFile]) -> usize {
    2 * metadata_bytes + manifests.len() * 512
}

fn new_table(
    cdc_table: &str,
    tables: &Tables,
    taken: &BTreeSet<TableIdent>,
    cx: &mut Context<'_>,
) -> (TableIdent, TablePointer) {
    let wanted = split_table_name(cdc_table).expect("the ingest refuses names that no table can have");
    let ident = free_ident(&wanted, tables.pointers.keys().chain(taken));
    let uuid = cx.draws.uuid();
    let folder = free_folder(&ident, uuid, tables.pointers.values().map(|pointer| pointer.folder.as_str()));
    let cdc_table = Some(cdc_table.to_owned());
    (ident, TablePointer { uuid, metadata_location: String::new(), folder, cdc_table })
}

fn summary(flush: u64, sources: &[Source]) -> BTreeMap<String, String> {
    let mut moved: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for source in sources {
        let range = moved.entry((&source.name, &source.epoch)).or_insert((source.first, source.through));
        *range = (range.0.min(source.first), range.1.max(source.through));
    }
    let count = moved.len();
    let moved: Vec<serde_json::Value> = moved
        .into_iter()
        .map(|((source, epoch), (first, through))| serde_json::json!([source, epoch, first, through]))
        .collect();
    let moved = serde_json::Value::from(moved).to_string();
    // A table keeps many snapshots, and every commit writes all of them.
    let sources = if moved.len() <= SUMMARY_SOURCES_BYTES_MAX {
        ("dolake.sources".to_owned(), moved)
    } else {
        ("dolake.source-count".to_owned(), count.to_string())
    };
    BTreeMap::from([("dolake.flush".to_owned(), flush.to_string()), sources])
}

fn properties(flush: u64, frontier: String, is_new: bool) -> BTreeMap<String, String> {
    let mut properties =
        BTreeMap::from([("dolake.flush.main".to_owned(), flush.to_string()), ("dolake.frontier".to_owned(), frontier)]);
    if is_new {
        let fixed = [("dolake.mode", "changelog"), ("dolake.keyScope", "source"), ("write.format.default", "parquet")];
        properties.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_its_sources_or_counts_them_where_they_are_many() {
        let of = |count: u64| {
            let source =
                |n| Source { name: format!("shard-{n}"), epoch: "e".to_owned(), first: 1, through: n, event: n };
            summary(7, &(0..count).map(source).collect::<Vec<_>>())
        };
        assert_eq!(of(2)["dolake.sources"], r#"[["shard-0","e",1,0],["shard-1","e",1,1]]"#);
        let many = of(10_000);
        assert_eq!((many["dolake.source-count"].as_str(), many.get("dolake.sources")), ("10000", None));
        assert_eq!(many["dolake.flush"], "7");
    }
}
