//! From change events to data files: schema inference, rows to columns, columns to Parquet.
//!
//! Pure: bytes in, bytes out. What to encode and where to put it is decided by [`crate::flush`].

pub mod job;
