//! The sentences of `promises`, "Sequences, duplicates and holes", as tests.

mod duplicates;
mod epochs;
mod histories;
mod holes;
mod lab;
mod refused;
mod restarts;
mod sparse;
mod sparse_histories;
