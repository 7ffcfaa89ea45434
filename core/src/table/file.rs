//! Row groups into one Parquet file, in memory.
//!
//! The bytes follow from the rows alone: no clock, no host, no version in them but `created_by`, which is fixed.
//! Encodings are the two that every reader has, plain and dictionary.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::metrics::metrics_of;
use crate::config::Compression;
use crate::table::job::EncodedFile;

const IN_MEMORY: &str = "writing Parquet to memory fails only for rows that contradict their schema";

/// Values of a column that are looked at before it is decided whether it gets a dictionary.
const DICTIONARY_SAMPLE: usize = 256;

/// A Parquet file that is being written.
pub(super) struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
}

impl FileWriter {
    /// Opens a file for row groups like this one. It is looked at, not written.
    pub(super) fn open(first: &RecordBatch, compression: Compression) -> FileWriter {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(first, compression))
            .with_skip_arrow_metadata(true)
            .with_schema_root("table".to_owned());
        let writer = ArrowWriter::try_new_with_options(Vec::new(), first.schema(), options).expect(IN_MEMORY);
        FileWriter { writer }
    }

    /// Writes one row group.
    pub(super) fn write(&mut self, rows: &RecordBatch) {
        self.writer.write(rows).expect(IN_MEMORY);
        self.writer.flush().expect(IN_MEMORY);
    }

    /// Encoded bytes so far.
    pub(super) fn bytes_written(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    pub(super) fn close(mut self) -> EncodedFile {
        let footer = self.writer.finish().expect(IN_MEMORY);
        let metrics = metrics_of(&footer);
        let bytes = std::mem::take(self.writer.inner_mut());
        EncodedFile { bytes: Bytes::from(bytes), metrics }
    }
}

fn properties(first: &RecordBatch, compression: Compression) -> WriterProperties {
    let codec = match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    };
    let mut builder = WriterProperties::builder()
        .set_created_by("dolake".to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(None)
        .set_dictionary_enabled(false);
    let schema = first.schema();
    for (field, array) in schema.fields().iter().zip(first.columns()) {
        builder = add_dictionaries(builder, &mut vec![field.name().clone()], array);
    }
    builder.build()
}

/// Turns the dictionary on for the leaves of a column for which it pays. A failed dictionary costs a hash of every
/// value and saves nothing.
#[allow(clippy::wildcard_enum_match_arm, reason = "these are Arrow's types, of which we write a few")]
fn add_dictionaries(
    builder: WriterPropertiesBuilder,
    path: &mut Vec<String>,
    array: &dyn Array,
) -> WriterPropertiesBuilder {
    let pays = match array.data_type() {
        DataType::Struct(fields) => {
            let mut builder = builder;
            for (field, member) in fields.iter().zip(array.as_struct().columns()) {
                path.push(field.name().clone());
                builder = add_dictionaries(builder, path, member);
                path.pop();
            }
            return builder;
        }
        DataType::List(_) => {
            path.extend(["list".to_owned(), "element".to_owned()]);
            let builder = add_dictionaries(builder, path, array.as_list::<i32>().values());
            path.truncate(path.len() - 2);
            return builder;
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            repeats(array, |row| values.value(row))
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>();
            repeats(array, |row| values.value(row))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            repeats(array, |row| values.value(row).to_bits())
        }
        _ => false,
    };
    if pays { builder.set_column_dictionary_enabled(ColumnPath::new(path.clone()), true) } else { builder }
}

/// Whether at most half of the values in a sample, taken evenly from all rows, are different ones.
fn repeats<T: Ord>(array: &dyn Array, value: impl Fn(usize) -> T) -> bool {
    let step = array.len().div_ceil(DICTIONARY_SAMPLE).max(1);
    let rows = (0..array.len()).step_by(step).filter(|&row| array.is_valid(row));
    let mut sample: Vec<T> = rows.map(value).collect();
    let taken = sample.len();
    sample.sort_unstable();
    sample.dedup();
    sample.len() * 2 <= taken && taken > 0
}
