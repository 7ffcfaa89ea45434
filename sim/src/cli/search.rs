//! `dolake-sim search`: many seeds, in search of one that fails.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dolake_sim::marks::MARKS;
use dolake_sim::plan::{Plan, Profile};
use dolake_sim::record::Recorder;
use dolake_sim::run::{Report, record_plan, run_plan, run_twice};

use super::{Ended, code, range, save};

/// Seeds that must reach each mark, in a search of enough seeds.
const SEEDS_A_MARK: u64 = 10;

/// Seeds from which on a search is held to reach all marks.
const ENOUGH_SEEDS: u64 = 3_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// From the first, up to and without the last: `0..1000`
    #[arg(long, value_parser = range, default_value = "0..1000000000")]
    seeds: Range<u64>,
    /// Ends after so many minutes, wherever it is
    #[arg(long)]
    minutes: Option<f64>,
    /// Seeds that run at once
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// How long a run is
    #[arg(long, value_enum, default_value_t = Profile::Short)]
    profile: Profile,
    /// Runs each seed twice: the second run must have the same hash
    #[arg(long)]
    twice: bool,
    /// Keeps each run that fails in this folder, for `replay` and `shrink`
    #[arg(long, value_name = "DIR")]
    save_failures: Option<PathBuf>,
}

fn live(seed: u64, arguments: &Arguments) -> Report {
    let plan = Plan::with_profile(seed, arguments.profile);
    if arguments.twice { run_twice(seed, &plan) } else { run_plan(seed, plan, false, Recorder::hashing()) }
}

#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    simulated_ms: u64,
    /// How often, and in how many seeds.
    counts: BTreeMap<&'static str, (u64, u64)>,
}

pub(crate) fn search(arguments: &Arguments) -> Ended {
    if let Some(folder) = &arguments.save_failures {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let until = arguments.minutes.map(|minutes| began + Duration::from_secs_f64(minutes * 60.0));
    let next = AtomicU64::new(arguments.seeds.start);
    let (sender, reports) = channel();
    let sum = std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while until.is_none_or(|until| Instant::now() < until) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_in = seed < arguments.seeds.end;
                    if !is_in || sender.send(live(seed, arguments)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        gather(&reports, arguments)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    for (what, (count, seeds)) in &sum.counts {
        println!("{count:>9} {what}, in {seeds} seeds");
    }
    let missed = missed(&sum, arguments.profile);
    for mark in &missed {
        println!("mark reached by fewer than {SEEDS_A_MARK} seeds: {mark}");
    }
    let ratio = sum.simulated_ms as f64 / 1_000.0 / seconds;
    let steps = sum.counts.get("steps").map_or(0, |(steps, _)| *steps) as f64 / seconds;
    println!(
        "{} seeds, {} failed, {:.1} simulated hours, {seconds:.1} s: {:.1} seeds a second, {ratio:.0} times as fast as the \
         clock, {steps:.0} steps a second",
        sum.seeds,
        sum.failed,
        sum.simulated_ms as f64 / 3_600_000.0,
        sum.seeds as f64 / seconds
    );
    Ok(code(sum.failed > 0 || !missed.is_empty()))
}

/// Marks that too few seeds reached, if there were enough seeds.
fn missed(sum: &Sum, profile: Profile) -> Vec<&'static str> {
    let is_judged = profile == Profile::Short && sum.seeds >= ENOUGH_SEEDS;
    let reached = |mark: &&str| sum.counts.get(*mark).is_some_and(|(_, seeds)| *seeds >= SEEDS_A_MARK);
    MARKS.into_iter().filter(|mark| is_judged && !reached(mark)).collect()
}

fn gather(reports: &Receiver<Report>, arguments: &Arguments) -> Result<Sum, String> {
    let mut sum = Sum::default();
    for report in reports {
        sum.seeds += 1;
        sum.simulated_ms += report.simulated_ms;
        for (what, count) in report.counts {
            let entry = sum.counts.entry(what).or_default();
            *entry = (entry.0 + count, entry.1 + 1);
        }
        let Some(violation) = report.violation else { continue };
        sum.failed += 1;
        let (seed, profile) = (report.seed, arguments.profile);
        let said = match profile {
            Profile::Short => String::new(),
            Profile::Deep => " --profile deep".to_owned(),
            Profile::Liveness => " --profile liveness".to_owned(),
        };
        println!("seed {seed}: {}: {}", violation.check, violation.message);
        println!("    dolake-sim run --trace{said} --seed {seed}");
        if let Some(folder) = &arguments.save_failures {
            let path = folder.join(format!("seed-{seed}.json"));
            save(&record_plan(seed, &Plan::with_profile(seed, profile), &|_| None).1, &path)?;
            println!("    dolake-sim shrink {}", path.display());
        }
    }
    Ok(sum)
}
