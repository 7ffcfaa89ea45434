//! DoLake's logic: one deterministic state machine that takes change events in and makes Iceberg tables of them.
//!
//! This crate does no I/O, reads no clock, draws no randomness but its [`Seed`], starts no thread, and depends on no
//! hash order. A host (the `io` crate, a Durable Object, the simulator) delivers an [`Event`] to [`Lake::step`],
//! carries out the [`Command`]s that come back, and reports each result as another event.
//!
//! Where to read on: [`event`] and [`command`] are the whole interface; [`lake`] only routes. The rooms follow the way
//! of the data: [`wire`] (messages) → [`ingest`] (sources, frontier, journal, acks) → [`table`] (rows to Parquet) →
//! `flush` (plan, write, commit, release) → [`iceberg`] (metadata and manifests) → [`catalog`] (what engines ask).
//! [`producer`] is the other end of the socket.

#[macro_use]
pub mod mutant;

mod calls;
pub mod catalog;
pub mod class_queue;
pub mod command;
pub mod config;
mod context;
pub mod event;
mod flush;
pub mod http;
pub mod iceberg;
mod identity;
pub mod ingest;
pub mod journal;
pub mod lake;
pub mod limits;
mod ops;
mod pending;
pub mod producer;
mod report;
pub mod seed;
mod settings;
pub mod table;
pub mod time;
pub mod verify;
pub mod wire;

pub use command::{Command, Commands, Op, Outcome};
pub use config::Config;
pub use event::Event;
pub use journal::{RestoreError, Saved};
pub use lake::{Deadline, Lake};
pub use seed::Seed;
pub use time::Timestamp;
