//! `dolake tables`: what is in a lake, as its store says.

use dolake_core::iceberg::metadata::TableMetadata;
use serde::Serialize;

use super::columns;
use super::exit::Exit;
use super::lake_view::{FoundTable, LakeView, LookError};

/// Which lake to look at.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the lake lies
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", default_value = "./lake", env = "DOLAKE_STORE")]
    pub store: String,
    /// Print a JSON array instead of columns
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    rows: Option<u64>,
    files: Option<u64>,
    bytes: Option<u64>,
    columns: usize,
    snapshots: usize,
    snapshot_id: Option<i64>,
    updated_ms: i64,
    location: String,
    metadata_location: String,
}

/// Runs `dolake tables`.
pub fn run(args: &Args) -> Exit {
    match look(&args.store) {
        Ok(rows) if args.json => {
            println!("{}", serde_json::to_string_pretty(&rows).expect("plain data always encodes"));
            Exit::Ok
        }
        Ok(rows) => {
            print!("{}", as_text(&rows));
            Exit::Ok
        }
        Err(error) => Exit::cannot_run(&error),
    }
}

/// The tables of a store, in aligned columns.
///
/// # Errors
/// The store cannot be looked at.
pub fn text(store: &str) -> Result<String, LookError> {
    Ok(as_text(&look(store)?))
}

fn look(store: &str) -> Result<Vec<Row>, LookError> {
    let view = LakeView::open(store)?;
    view.tables()?.iter().map(|table| Ok(row(&view, table, &view.metadata(table)?))).collect()
}

fn row(view: &LakeView, table: &FoundTable, metadata: &TableMetadata) -> Row {
    let totals = metadata.totals();
    Row {
        name: table.name(),
        rows: totals.rows,
        files: totals.data_files,
        bytes: totals.bytes,
        columns: metadata.current_schema().map_or(0, |schema| schema.fields.len()),
        snapshots: metadata.snapshots.len(),
        snapshot_id: metadata.current_snapshot_id,
        updated_ms: metadata.last_updated_ms,
        location: metadata.location.clone(),
        metadata_location: format!("{}/{}", view.location(), table.metadata_key),
    }
}

fn as_text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no tables yet\n".to_owned();
    }
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                number(row.rows),
                number(row.files),
                number(row.bytes),
                row.columns.to_string(),
                row.snapshots.to_string(),
                row.location.clone(),
            ]
        })
        .collect();
    columns::align(&["table", " rows", " files", " bytes", " columns", " snapshots", "location"], &cells)
}
