//! Tier B: the real host on a simulated network (docs/SIMULATION.md, "Tier B").
//!
//! The host is the one that `dolake serve` runs, with its HTTP and WebSocket server, machine, journal (a real SQLite
//! file) and S3 client; the producers are `dolake produce`'s. Network, time, threads and the object server are
//! simulated, on one thread, from one seed. Each scenario runs over many seeds; what it checks in the end is the store.
//!
//! Start at [`world`]; [`host`], [`sources`] and [`objects`] are its nodes, [`net`] is what lies between.

mod abuse;
mod crashes;
mod halfopen;
mod host;
mod links;
mod memory;
mod net;
mod objects;
mod raw;
mod sources;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a scenario over its seeds; `DOLAKE_SEED=N` runs one, `DOLAKE_SEEDS=N` so many.
pub(crate) fn seeds(name: &str, count: u64, scenario: impl Fn(u64)) {
    let number = |key: &str| std::env::var(key).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match (number("DOLAKE_SEED"), number("DOLAKE_SEEDS")) {
        (Some(seed), _) => {
            let log = tracing_subscriber::fmt().with_timer(SimulatedTime).with_test_writer();
            let _ = log.with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
            seed..seed + 1
        }
        (None, count_wanted) => 0..count_wanted.unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            eprintln!(
                "seed {seed} fails; to repeat it:\n  \
                 DOLAKE_SEED={seed} RUST_LOG=debug cargo test --release --workspace --test network {name} -- --nocapture"
            );
            resume_unwind(panic);
        }
    }
}

struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:?}", turmoil::sim_elapsed().unwrap_or_default())
    }
}
