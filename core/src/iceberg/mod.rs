//! Apache Iceberg as pure functions: schemas, table metadata, manifests, commits.
//!
//! Names and rules are those of the Iceberg table specification, format version 2. All output is deterministic to the
//! byte, and what other writers put into metadata is kept where it is not understood. Nothing here does I/O: objects are
//! bytes that come in, and bytes with a location that go out.
//!
//! Where to read on: [`commit`] is what a flush calls. It makes the next [`metadata`] out of the last, with
//! [`manifest`]s of [`data_file`]s and a [`manifest_list`]; [`expiry`] says what ends with it. Metadata from the
//! store is asked first whether a commit can follow it ([`metadata::TableMetadata::check_writable`]).

pub mod commit;
pub mod container;
pub mod data_file;
pub mod expiry;
pub mod location;
pub mod manifest;
pub mod manifest_list;
pub mod metadata;
pub mod partition;
pub mod schema;

mod avro;
mod metadata_json;
mod schema_json;
mod writable;

#[cfg(test)]
mod fixtures;
