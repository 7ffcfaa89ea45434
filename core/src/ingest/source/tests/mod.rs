//! The sentences of `promises`, "Sequences, duplicates and holes", as tests.
