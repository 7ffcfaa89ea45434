//! The other end of the socket: sends change events to a server.
//!
//! [`input`] makes batches of lines. When to send what is decided by `dolake_core::producer`.

pub mod input;
