//! The other end of the socket: sends change events to a server.
//!
//! [`input`] makes batches of lines, [`driver`] runs the producer's protocol, which `dolake_core::producer` decides,
//! and [`link`] is one connection.

pub mod driver;
pub mod input;
pub mod link;
