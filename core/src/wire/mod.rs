//! The messages of the WebSocket: types, parsing with precise errors, and answers.
//!
//! A batch is parsed from borrowed bytes in one pass ([`parse`]). Row images are checked but not kept as anything but
//! spans of the frame, until the table's encoder walks them with the same [`json::Cursor`] and makes columns of them.
//!
//! Architecture invariant: nothing here knows sources, numbers seen before, or limits of rate. A message is judged by
//! itself alone; [`crate::ingest`] judges it by what came before.

pub mod batch;
mod cdc;
pub mod client;
mod control;
mod error;
mod events;
mod fields;
mod header;
pub mod json;
mod json_error;
mod parse;
pub mod server;

pub use client::ClientMessage;
pub use error::{NackReason, Named, WireError};
pub(crate) use fields::is_name;
pub(crate) use parse::reread;
pub use parse::{Post, WireLimits, parse, parse_post};
pub use server::ServerMessage;
