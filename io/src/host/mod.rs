//! Around the machine: one loop owns it, and everything that happens reaches it through one queue.
//!
//! [`running`] puts a host together and takes it apart, [`machine`] steps the machine and hands out its commands,
//! [`inbox`] is the queue, [`gate`] keeps that queue bounded in bytes, [`work`] is the pool for CPU work; [`loops`] and
//! [`clock`] say where all this runs and what time it is. No policy here: what to do is the machine's decision.

pub mod clock;
pub mod gate;
pub mod inbox;
pub mod loops;
pub mod machine;
pub mod memory;
pub mod running;
pub mod work;
