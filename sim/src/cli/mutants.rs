//! `dolake-sim mutants`: plants one bug after the other in the core and says which check catches it, and how soon.
//!
//! The bugs are in `dolake_core::mutant`. They are compiled in by the cargo feature `mutants` alone.

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Bugs that are tried at once.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Seeds that each bug is given, from 0.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Only the bugs whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Tells the story of each seed that caught a bug.
    #[arg(long)]
    trace: bool,
}

/// Says how to build what can plant bugs.
#[cfg(not(feature = "mutants"))]
pub(crate) fn mutants(_: &Arguments) -> Result<std::process::ExitCode, String> {
    let build = "cargo build --release --workspace --bin dolake-sim --features dolake-sim/mutants";
    Err(format!("no bugs are compiled in: build with\n    {build}"))
}

#[cfg(feature = "mutants")]
pub(crate) use planted::mutants;

#[cfg(feature = "mutants")]
mod planted {
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Instant;

    use dolake_core::mutant::{Mutant, plant};
    use dolake_sim::plan::{Plan, Profile};
    use dolake_sim::record::Recorder;
    use dolake_sim::run::{Report, run_plan};
    use dolake_sim::world::Violation;

    use super::Arguments;

    /// A seed that failed, and how.
    type Caught = Option<(u64, Violation)>;

    /// Plants every bug in turn and prints what became of it. Fails if one was not caught, or a seed fails without any.
    pub(crate) fn mutants(arguments: &Arguments) -> Result<ExitCode, String> {
        std::panic::set_hook(Box::new(|_| {}));
        let began = Instant::now();
        let wanted = |mutant: &Mutant| {
            let name = format!("{mutant:?}");
            arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part.as_str()))
        };
        let mutants: Vec<Mutant> = Mutant::ALL.iter().copied().filter(wanted).collect();
        if mutants.is_empty() {
            return Err(format!("no bug's name has any of {} in it", arguments.only.join(", ")));
        }
        let found = in_parallel(arguments.jobs, mutants.len(), |n| {
            let caught = hunt(Some(mutants[n]), 0..arguments.seeds);
            let how = caught.as_ref().map_or("not caught", |(_, violation)| violation.check);
            eprintln!("{:?}: {how}", mutants[n]);
            caught
        });
        let last = found.iter().flatten().map(|(seed, _)| seed + 1).max().unwrap_or(0);
        let stride = 16;
        let controls = in_parallel(arguments.jobs, last.div_ceil(stride) as usize, |n| {
            let from = n as u64 * stride;
            hunt(None, from..last.min(from + stride))
        });
        let missed = print(&mutants, &found, arguments);
        let control = controls.into_iter().flatten().next();
        match &control {
            None => println!("none planted: {last} seeds, nothing seen"),
            Some((seed, violation)) => {
                println!("none planted: seed {seed}: {}: {}", violation.check, violation.message);
            }
        }
        println!("{:.0} s", began.elapsed().as_secs_f64());
        let failed = missed > 0 || control.is_some();
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// The first of the seeds that fails with this bug planted.
    fn hunt(mutant: Option<Mutant>, seeds: std::ops::Range<u64>) -> Caught {
        plant(mutant);
        let caught = |seed| Some((seed, live(seed, false).violation?));
        seeds.into_iter().find_map(caught)
    }

    /// A few of the seeds are long: what many commits do is seen there alone.
    fn live(seed: u64, trace: bool) -> Report {
        let profile = if seed % 20 == 19 { Profile::Deep } else { Profile::Short };
        run_plan(seed, Plan::with_profile(seed, profile), trace, Recorder::hashing())
    }

    /// Does `work` for all numbers below `count`, on some threads.
    fn in_parallel(jobs: usize, count: usize, work: impl Fn(usize) -> Caught + Sync) -> Vec<Caught> {
        let next = AtomicUsize::new(0);
        let (sender, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                let (sender, work, next) = (sender.clone(), &work, &next);
                scope.spawn(move || {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count || sender.send((n, work(n))).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        drop(sender);
        let mut found = vec![None; count];
        results.into_iter().for_each(|(n, caught)| found[n] = caught);
        found
    }

    /// The table, and how many were not caught.
    fn print(mutants: &[Mutant], found: &[Caught], arguments: &Arguments) -> usize {
        println!("| mutant | caught by | seeds | what it does, and the promise that it breaks |\n|---|---|---|---|");
        let mut needed = Vec::new();
        for (mutant, caught) in mutants.iter().zip(found) {
            let (check, seeds) = match caught {
                Some((seed, violation)) => {
                    needed.push(seed + 1);
                    (violation.check, (seed + 1).to_string())
                }
                None => ("not caught", format!("> {}", arguments.seeds)),
            };
            println!("| {mutant:?} | {check} | {seeds} | {} |", mutant.breaks());
        }
        needed.sort_unstable();
        let median = needed.get(needed.len() / 2).copied().unwrap_or(0);
        println!("\n{} of {} caught, median {median} seeds", needed.len(), mutants.len());
        for (mutant, caught) in mutants.iter().zip(found) {
            match caught {
                None => println!("not caught: {mutant:?}: {}", mutant.breaks()),
                Some((seed, violation)) if arguments.trace || !arguments.only.is_empty() => {
                    println!("{mutant:?}, seed {seed}: {}: {}", violation.check, violation.message);
                    plant(Some(*mutant));
                    if arguments.trace {
                        live(*seed, true);
                    }
                }
                Some(_) => {}
            }
        }
        mutants.len() - needed.len()
    }
}
