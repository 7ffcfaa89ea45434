//! DoLake's host on Cloudflare Workers: the machine of `dolake-core` inside a Durable Object.
//!
//! It decides nothing. The object's JavaScript shell (`package/`) owns what only JavaScript can touch there: sockets,
//! the object's storage, R2, alarms. It calls the functions of [`wasm`] with what happened; each call steps the machine
//! once, and the machine's commands go out through [`hands::Hands`] before the call returns. What takes time comes back
//! as another call. So nothing here waits, and nothing is ever re-entered.
//!
//! Each object has a WebAssembly instance, and thus a memory, of its own: a panic costs the object that it happened in
//! one life, and no other object anything.
//!
//! Where to read on: [`host`] is the loop around the machine, [`open`] begins its life, [`outcome`] reads what R2 said.

pub mod hands;
pub mod host;
pub mod open;
pub mod outcome;
pub mod pack;
pub mod rows;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
