//! Around the machine: one thread owns it, and everything that happens reaches it through one queue.
//!
//! [`machine`] steps it and hands out its commands, [`inbox`] is the queue, [`gate`] keeps that queue bounded in
//! bytes, [`work`] is the pool for CPU work. No policy here: what to do is the machine's decision.

pub mod class_queue;
pub mod gate;
pub mod inbox;
pub mod machine;
pub mod memory;
pub mod thread;
pub mod work;
