//! x
pub mod journal { pub mod db; }
