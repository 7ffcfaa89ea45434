//! DoLake's logic: one deterministic state machine that takes change events in and makes Iceberg tables of them.
//!
//! This crate does no I/O, reads no clock, draws no randomness but its [`Seed`], starts no thread, and depends on no
//! hash order. A host (the `io` crate, a Durable Object, the simulator) delivers an [`Event`] to [`Lake::step`],
//! carries out the [`Command`]s that come back, and reports each result as another event.
//!
//! Where to read on: [`event`] and [`command`] are the whole interface; [`lake`] only routes. The rooms follow the way
//! of the data: [`wire`] (messages) → [`ingest`] (sources, frontier, journal, acks) → [`table`] (rows to Parquet) →
//! [`flush`] (plan, write, commit, release) → [`iceberg`] (metadata and manifests) → [`catalog`] (what engines ask).
//! [`producer`] is the other end of the socket.

pub mod command;
pub mod config;
pub mod event;
pub mod iceberg;
pub mod limits;
pub mod seed;
pub mod table;
pub mod time;
pub mod verify;
pub mod wire;

pub use command::{Command, Commands, Op, Outcome};
pub use config::Config;
pub use event::Event;
pub use seed::Seed;
pub use time::Timestamp;
