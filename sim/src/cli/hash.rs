//! `dolake-sim hash`: the hashes of some seeds, to compare them with those of another machine, target or build.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use dolake_sim::plan::{Plan, Profile};
use dolake_sim::record::Recorder;
use dolake_sim::run::run_plan;

use super::{Ended, code, range};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// From the first, up to and without the last: `0..100`
    #[arg(long, value_parser = range)]
    seeds: Range<u64>,
    /// How long a run is
    #[arg(long, value_enum, default_value_t = Profile::Short)]
    profile: Profile,
    /// Prints each event, each command and all that remains with its hash, a line each: where the lines of two builds
    /// part, their runs do
    #[arg(long)]
    lines: bool,
    /// Seeds that run at once
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
}

pub(crate) fn hash(arguments: &Arguments) -> Ended {
    let Arguments { seeds, profile, lines, jobs } = arguments;
    let next = AtomicU64::new(seeds.start);
    let texts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..(*jobs).max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let told = one(seed, *profile, *lines);
                    texts.lock().expect("nobody panics with it").push((seed, told));
                }
            });
        }
    });
    let mut texts = texts.into_inner().expect("nobody panicked with it");
    texts.sort_unstable_by_key(|(seed, _)| *seed);
    let mut failed = false;
    for (seed, (text, violation)) in texts {
        print!("{text}");
        if let Some(violation) = violation {
            failed = true;
            eprintln!("seed {seed}: {violation}");
        }
    }
    Ok(code(failed))
}

/// What is printed of a seed, and what was wrong in its run.
fn one(seed: u64, profile: Profile, lines: bool) -> (String, Option<String>) {
    let recorder = if lines { Recorder::telling() } else { Recorder::hashing() };
    let report = run_plan(seed, Plan::with_profile(seed, profile), false, recorder);
    let mut text = format!("{seed} {:016x}\n", report.hash);
    for line in report.record.lines() {
        text.push_str(line);
        text.push('\n');
    }
    (text, report.violation.map(|violation| format!("{}: {}", violation.check, violation.message)))
}
