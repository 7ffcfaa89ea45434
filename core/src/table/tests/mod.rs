//! Events in, rows of the finished files out, as JSON.

mod evolution;
mod files;
mod inference;
mod nothing_is_lost;
mod support;
