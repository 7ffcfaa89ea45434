//! From a parsed batch to an answer: sources and their frontiers, the journal, acks.
//!
//! Where to read on: [`frontier`] is what one epoch of a source has covered, [`source`] everything that is known of one
//! source, and how it answers a batch.

pub mod frontier;
pub mod source;
