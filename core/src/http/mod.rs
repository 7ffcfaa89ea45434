//! The HTTP side as pure functions: from a request's head to what is asked, from an answer's data to its bytes.
//!
//! Nothing here holds state or waits. [`route`] says what a request wants, the machine finds it out, and [`respond`],
//! [`error`], [`metrics`] and [`status`] give the answer its shape. Which paths exist stands in one table,
//! [`endpoints`]. What the catalog answers is in [`crate::catalog`].

pub mod endpoints;
pub mod error;
pub mod metrics;
mod query;
pub mod respond;
pub mod route;
pub mod settings;
pub mod status;

pub use error::{ErrorKind, ErrorModel, HttpError};
pub use respond::Answer;
pub use route::{Route, route};
