//! Flushes, seen from outside.

mod beginning;
mod connections;
mod host;
mod parking;
mod passed_over;
