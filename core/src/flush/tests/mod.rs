//! Flushes, seen from outside.

mod beginning;
mod connections;
mod host;
mod identity;
mod memory;
mod order;
mod parking;
mod passed_over;
mod posts;
mod requests;
mod upkeep;
