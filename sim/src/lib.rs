//! The world around DoLake's core: a store, a journal, a network and producers that fail, cut and lie, driven by one
//! seed; and checks that hold every answer and every commit against what was made up.
//!
//! It has no part in production and is never needed by it. Start at [`world`]; [`plan`] says what a seed means,
//! [`checks`] what is checked.

pub mod checks;
pub mod decisions;
pub mod host;
pub mod journal;
pub mod lake_view;
pub mod marks;
pub mod operator;
pub mod plan;
pub mod posts;
pub mod producers;
pub mod queue;
pub mod reader;
pub mod real;
pub mod record;
pub mod rng;
pub mod run;
pub mod saved;
pub mod shrink;
pub mod store;
pub mod trace;
pub mod truth;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
pub mod world;
pub mod wrong_store;
