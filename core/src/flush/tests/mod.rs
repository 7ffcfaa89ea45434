//! Flushes, seen from outside.

mod beginning;
mod host;
mod parking;
mod passed_over;
