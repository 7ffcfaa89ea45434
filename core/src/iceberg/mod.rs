//! Apache Iceberg as pure functions: schemas, table metadata, manifests, commits.
//!
//! Names and rules are those of the Iceberg table specification, format version 2. All output is deterministic to the
//! byte, and what other writers put into metadata is kept where it is not understood.

pub mod data_file;
pub mod schema;
