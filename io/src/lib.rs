//! DoLake's native host: gives the machine of `dolake-core` sockets, a journal, an object store, a clock and threads.
//!
//! It decides nothing: what arrives becomes an event, what the machine commands is carried out and reported. Where to
//! read on: [`host`] is the loop around the machine; [`net`] brings events in, [`journal`] and [`store`] keep bytes,
//! [`cli`] is the command line and puts it all together in [`cli::serve`].

pub mod cli;
pub mod host;
pub mod journal;
pub mod net;
pub mod produce;
pub mod store;
