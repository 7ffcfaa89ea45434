//! Which events a table has a row of, read from its `_cdc_` columns.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::{Findings, Ranges, SourceEpoch};
use crate::iceberg::metadata::TableMetadata;

const ROWS_AT_ONCE: usize = 8_192;

/// The sequences found so far.
pub(super) struct Sequences {
    /// Field ids of `_cdc_source`, `_cdc_epoch` and `_cdc_seq`; `None` if the table has none of these.
    columns: Option<[i32; 3]>,
    found: BTreeMap<SourceEpoch, Ranges>,
}

impl Sequences {
    /// For a table of this current schema.
    pub(super) fn of(metadata: &TableMetadata) -> Sequences {
        let id = |name| metadata.current_schema()?.column(name).map(|field| field.id);
        let columns = match (id("_cdc_source"), id("_cdc_epoch"), id("_cdc_seq")) {
            (Some(source), Some(epoch), Some(sequence)) => Some([source, epoch, sequence]),
            _ => None,
        };
        Sequences { columns, found: BTreeMap::new() }
    }

    pub(super) fn into_found(self) -> BTreeMap<SourceEpoch, Ranges> {
        self.found
    }

    /// Adds the events of one data file. Each may be there only once in the whole table.
    pub(super) fn read(&mut self, location: &str, file: Bytes, findings: &mut Findings) {
        let Some(ids) = self.columns else { return };
        if let Err(problem) = self.read_columns(ids, location, file, findings) {
            findings.add(location, format!("its _cdc_ columns cannot be read: {problem}"));
        }
    }

    fn read_columns(
        &mut self,
        ids: [i32; 3],
        location: &str,
        file: Bytes,
        findings: &mut Findings,
    ) -> Result<(), ParquetError> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
        let roots = builder.parquet_schema().root_schema().get_fields().iter();
        let positions: Vec<Option<usize>> = {
            let all: Vec<Option<i32>> =
                roots.map(|f| f.get_basic_info().has_id().then(|| f.get_basic_info().id())).collect();
            ids.iter().map(|id| all.iter().position(|other| other == &Some(*id))).collect()
        };
        let [Some(source), Some(epoch), Some(sequence)] = positions[..] else {
            return Err(ParquetError::General(format!(
                "expected columns with the field ids {ids:?}, but one is absent"
            )));
        };
        let mask = ProjectionMask::roots(builder.parquet_schema(), [source, epoch, sequence]);
        // A projection keeps the file's own order of columns.
        let place = |position: usize| [source, epoch, sequence].iter().filter(|other| **other < position).count();
        let places = [place(source), place(epoch), place(sequence)];
        let reader = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE).build()?;
        let mut first_row = 0;
        for batch in reader {
            let batch = batch?;
            self.add(&batch, places, first_row, location, findings)?;
            first_row += batch.num_rows() as u64;
        }
        Ok(())
    }

    fn add(
        &mut self,
        batch: &RecordBatch,
        places: [usize; 3],
        first_row: u64,
        location: &str,
        findings: &mut Findings,
    ) -> Result<(), ParquetError> {
        let wrong = |what| ParquetError::General(format!("expected {what}"));
        let strings = |place: usize| batch.column(place).as_string_opt::<i32>();
        let sources = strings(places[0]).ok_or_else(|| wrong("_cdc_source as string"))?;
        let epochs = strings(places[1]).ok_or_else(|| wrong("_cdc_epoch as string"))?;
        let sequences = batch.column(places[2]).as_primitive_opt::<Int64Type>();
        let sequences = sequences.ok_or_else(|| wrong("_cdc_seq as long"))?;
        let mut row = 0;
        while row < batch.num_rows() {
            // Rows of one source come together, so it is looked up once for all of them.
            let (source, epoch) = (text(sources, row), text(epochs, row));
            let same = |other: &usize| text(sources, *other) == source && text(epochs, *other) == epoch;
            let end = (row..batch.num_rows()).take_while(same).last().map_or(row + 1, |last| last + 1);
            let Some(source) = source else {
                findings.push(
                    location,
                    Some("_cdc_source"),
                    Some(first_row + row as u64),
                    "expected a source, got null".into(),
                );
                row = end;
                continue;
            };
            let key = SourceEpoch { source: source.to_owned(), epoch: epoch.unwrap_or_default().to_owned() };
            let ranges = self.found.entry(key).or_default();
            for n in row..end {
                let number = sequences.is_valid(n).then(|| u64::try_from(sequences.value(n)).ok()).flatten();
                let what = match number {
                    None => "expected a sequence number of 0 or more, got none".to_owned(),
                    Some(number) if ranges.insert(number) => continue,
                    Some(number) => format!(
                        "source {source:?}, epoch {:?}: expected event {number} once in the table, got it again",
                        epoch.unwrap_or_default()
                    ),
                };
                findings.push(location, Some("_cdc_seq"), Some(first_row + n as u64), what);
            }
            row = end;
        }
        Ok(())
    }
}

fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}
