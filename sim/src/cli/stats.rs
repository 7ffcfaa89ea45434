//! `dolake-sim stats`: how fast simulated time goes, on one core, with all checks on.

use std::time::Instant;

use dolake_sim::plan::Plan;
use dolake_sim::record::Recorder;
use dolake_sim::run::run_plan;

use super::{Ended, code};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Events a second of one source, and simulated seconds.
const DAYS: [(u64, u64); 2] = [(1, 3_600), (100, 600)];

pub(crate) fn stats(arguments: &Arguments) -> Ended {
    let mut failed = false;
    for (rate, seconds) in DAYS {
        let began = Instant::now();
        let report = run_plan(arguments.seed, Plan::plain(rate, seconds), false, Recorder::hashing());
        let real = began.elapsed().as_secs_f64();
        let count = |what: &str| report.counts.get(what).copied().unwrap_or(0);
        println!(
            "about {rate} events a second: {} simulated seconds in {real:.2} s, {:.0} times as fast as the clock; {} steps, \
             {:.0} a second; {} commits",
            report.simulated_ms / 1_000,
            report.simulated_ms as f64 / 1_000.0 / real,
            count("steps"),
            count("steps") as f64 / real,
            count("commit"),
        );
        if let Some(violation) = &report.violation {
            println!("{}: {}", violation.check, violation.message);
            failed = true;
        }
    }
    Ok(code(failed))
}
