//! `dolake verify`: walks a whole lake and fails on the first thing that is not as it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dolake_core::catalog::tables_of;
use dolake_core::verify::{Ranges, SourceEpoch, TableReport, Untruth, verify_table};
use serde::Serialize;

use super::columns;
use super::exit::Exit;
use super::lake_view::{FoundTable, LakeView, LookError};
use crate::journal;
use crate::journal::db::{self, Db};

/// Which lake to verify.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the lake lies
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", default_value = "./lake", env = "DOLAKE_STORE")]
    pub store: String,
    /// The journal of a server that is not running: verifies too that the store holds every table it knows, at the
    /// version that it knows
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Print a JSON object instead of words
    #[arg(long)]
    pub json: bool,
}

/// Why a lake cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] db::OpenError),
    /// The journal cannot be read.
    #[error("journal {}: {message}", path.display())]
    ReadJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// What was found in a whole lake.
#[derive(Debug, Default)]
pub struct Verified {
    /// The tables that are what they say, by name.
    pub tables: BTreeMap<String, TableReport>,
    /// Everything that is not as it says.
    pub untruths: Vec<Untruth>,
    /// Journal rows of batches that are not in the lake yet.
    pub waiting: Option<usize>,
}

impl Verified {
    /// By source and epoch, the events that some table has a row of, and the events that more than one has.
    pub fn sequences(&self) -> BTreeMap<&SourceEpoch, (Ranges, Ranges)> {
        let mut by_source: BTreeMap<&SourceEpoch, (Ranges, Ranges)> = BTreeMap::new();
        for (source, found) in self.tables.values().flat_map(|table| &table.sequences) {
            let (all, twice) = by_source.entry(source).or_default();
            for sequence in found.iter().flat_map(|(first, last)| first..=last) {
                if !all.insert(sequence) {
                    twice.insert(sequence);
                }
            }
        }
        by_source
    }
}

/// Runs `dolake verify`.
pub fn run(args: &Args) -> Exit {
    let verified = match verify(&args.store, args.journal.as_deref()) {
        Ok(verified) => verified,
        Err(error) => return Exit::cannot_run(&error),
    };
    if args.json {
        println!("{}", serde_json::to_string(&report(&verified)).expect("plain data always encodes"));
    } else {
        print!("{}", as_text(&verified));
        for untruth in &verified.untruths {
            eprintln!("untrue: {untruth}");
        }
    }
    if verified.untruths.is_empty() { Exit::Ok } else { Exit::CheckFailed }
}

/// Walks every table, and holds them against one another and the journal.
///
/// # Errors
/// The store or the journal cannot be opened. What can be opened and is wrong is an untruth.
pub fn verify(store: &str, journal: Option<&Path>) -> Result<Verified, Error> {
    verify_view(&LakeView::open(store)?, journal)
}

/// As [`verify`], of a store that is open already.
///
/// # Errors
/// As there.
pub fn verify_view(view: &LakeView, journal: Option<&Path>) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    let known = match journal {
        Some(path) => {
            let (known, waiting) = known(path)?;
            verified.waiting = Some(waiting);
            Some(known)
        }
        None => None,
    };
    let found = view.tables()?;
    for (name, location) in targets(view, &found, known.as_ref()) {
        let mut read = |location: &str| view.read_location(location);
        match verify_table(&location, &mut read) {
            Ok(report) => drop(verified.tables.insert(name, report)),
            Err(untruths) => verified.untruths.extend(untruths),
        }
    }
    let twice: Vec<Untruth> = verified
        .sequences()
        .into_iter()
        .flat_map(|(source, (_, twice))| twice.iter().map(|range| in_two_tables(source, range)).collect::<Vec<_>>())
        .collect();
    verified.untruths.extend(twice);
    Ok(verified)
}

/// What the journal says of the tables (name to current metadata), and how many rows of batches wait in it.
fn known(path: &Path) -> Result<(BTreeMap<String, String>, usize), Error> {
    let fail = |message: String| Error::ReadJournal { path: path.to_owned(), message };
    let db = Db::open_existing(path)?;
    let saved = journal::saved(&db).map_err(|error| fail(error.to_string()))?;
    let tables = tables_of(&saved).map_err(|error| fail(error.to_string()))?;
    let known = tables.into_iter().map(|(ident, pointer)| (ident.to_string(), pointer.metadata_location)).collect();
    Ok((known, saved.batch_keys.len()))
}

/// Names and metadata locations of the tables to walk. The journal knows best which version is the current one.
fn targets(
    view: &LakeView,
    found: &[FoundTable],
    known: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let in_store = found.iter().map(|table| (table.name(), format!("{}/{}", view.location(), table.metadata_key)));
    match known {
        None => in_store.collect(),
        Some(known) => known.clone(),
    }
}

fn in_two_tables(source: &SourceEpoch, (first, last): (u64, u64)) -> Untruth {
    let SourceEpoch { source, epoch } = source;
    Untruth {
        location: format!("source {source:?}, epoch {epoch:?}"),
        column: None,
        row: None,
        what: format!("expected each event in one table, got events {first} to {last} in several"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    ok: bool,
    tables: Vec<TableLine<'a>>,
    sources: Vec<SourceLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<usize>,
    untruths: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TableLine<'a> {
    name: &'a str,
    rows: u64,
    files: u64,
    bytes: u64,
    snapshots: u64,
    snapshot_id: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceLine<'a> {
    source: &'a str,
    epoch: &'a str,
    events: u64,
    ranges: Vec<(u64, u64)>,
}

fn report(verified: &Verified) -> Report<'_> {
    let tables = verified.tables.iter().map(|(name, table)| TableLine {
        name,
        rows: table.rows,
        files: table.data_files,
        bytes: table.bytes,
        snapshots: table.snapshots,
        snapshot_id: table.current_snapshot_id,
    });
    let sources = verified.sequences().into_iter().map(|(source, (all, _))| SourceLine {
        source: &source.source,
        epoch: &source.epoch,
        events: all.count(),
        ranges: all.iter().collect(),
    });
    Report {
        ok: verified.untruths.is_empty(),
        tables: tables.collect(),
        sources: sources.collect(),
        waiting: verified.waiting,
        untruths: verified.untruths.iter().map(ToString::to_string).collect(),
    }
}

fn as_text(verified: &Verified) -> String {
    let report = report(verified);
    let tables: Vec<Vec<String>> = report
        .tables
        .iter()
        .map(|line| {
            let numbers = [line.rows, line.files, line.bytes, line.snapshots];
            std::iter::once(line.name.to_owned()).chain(numbers.map(|number| number.to_string())).collect()
        })
        .collect();
    let sources: Vec<Vec<String>> = report
        .sources
        .iter()
        .map(|line| {
            let ranges = line.ranges.iter().take(4).map(|(first, last)| format!("{first}-{last}"));
            let more = if line.ranges.len() > 4 { " …" } else { "" };
            let ranges = format!("{}{more}", ranges.collect::<Vec<_>>().join(" "));
            vec![line.source.to_owned(), line.epoch.to_owned(), line.events.to_string(), ranges]
        })
        .collect();
    let mut text = columns::align(&["table", " rows", " files", " bytes", " snapshots"], &tables);
    if !sources.is_empty() {
        text.push('\n');
        text.push_str(&columns::align(&["source", "epoch", " events once each", "sequences"], &sources));
    }
    if let Some(waiting) = report.waiting {
        text.push_str(&format!("\n{waiting} journal rows of batches wait for the next flush\n"));
    }
    if report.ok {
        text.push_str("\nall is as it says\n");
    }
    text
}
