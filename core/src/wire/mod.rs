//! The messages of the WebSocket: types, parsing with precise errors, and answers.
//!
//! A batch is parsed from borrowed bytes in one pass. Row images are not looked into: they stay spans of the frame
//! until the table's encoder makes columns of them.

pub mod batch;
