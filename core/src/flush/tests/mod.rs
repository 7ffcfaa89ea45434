//! Flushes, seen from outside.

mod beginning;
mod connections;
mod host;
mod memory;
mod order;
mod parking;
mod passed_over;
mod posts;
mod upkeep;
