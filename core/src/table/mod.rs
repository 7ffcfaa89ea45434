//! From change events to data files: schema inference, rows to columns, columns to Parquet.
//!
//! Pure: bytes in, bytes out. What to encode and where to put it is decided by [`crate::flush`].
//!
//! The way of a value: [`job`] walks the batches, `rows` makes a row of each event, `append` reads its images into the
//! columns of `column`, or into `rescue` what does not fit; `fields` makes Iceberg fields of columns, with the names of
//! `names`; `file` writes sealed row groups, and `metrics` reads their counts and bounds from the footer.

mod append;
mod cdc;
mod column;
mod fields;
mod file;
pub mod job;
mod metrics;
mod names;
mod number;
mod rescue;
mod rows;

#[cfg(test)]
mod tests;
