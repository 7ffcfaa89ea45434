//! The network's side: one listener for WebSockets and HTTP. [`server`] tells the two apart, [`socket`] carries
//! frames, [`call`] carries requests, [`line`](mod@line) counts bytes below both. What a path means, the machine knows.

pub mod call;
pub mod line;
pub mod server;
pub mod socket;
