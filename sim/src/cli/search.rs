//! `dolake-sim search`: many seeds, in search of one that fails.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use dolake_sim::record::Recorder;
use dolake_sim::run::{record, run};

use super::{Ended, code, save};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// From the first, up to and without the last: `0..1000`.
    #[arg(long, value_parser = range)]
    seeds: Range<u64>,
    /// Keeps each run that fails in this folder, for `replay` and `shrink`.
    #[arg(long, value_name = "DIR")]
    save_failures: Option<PathBuf>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, until) = text.split_once("..").ok_or("expected a range like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(until)?)
}

pub(crate) fn search(arguments: &Arguments) -> Ended {
    let Arguments { seeds, save_failures } = arguments;
    if let Some(folder) = save_failures {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let began = Instant::now();
    let (mut failed, mut simulated_ms, mut total) = (0_u64, 0_u64, BTreeMap::<&str, (u64, u64)>::new());
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds.clone() {
        let report = run(seed, false, Recorder::hashing());
        simulated_ms += report.simulated_ms;
        for (what, count) in report.counts {
            let entry = total.entry(what).or_default();
            *entry = (entry.0 + count, entry.1 + 1);
        }
        if let Some(violation) = report.violation {
            failed += 1;
            println!("seed {seed}: {}: {}", violation.check, violation.message);
            println!("    dolake-sim run --trace --seed {seed}");
            if let Some(folder) = save_failures {
                let path = folder.join(format!("seed-{seed}.json"));
                save(&record(seed, &|_| None).1, &path)?;
                println!("    dolake-sim shrink {}", path.display());
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    for (what, (count, seeds)) in &total {
        println!("{count:>9} {what}, in {seeds} seeds");
    }
    let ratio = simulated_ms as f64 / 1_000.0 / seconds;
    println!("{count} seeds, {failed} failed, {seconds:.1} s, {ratio:.0} times as fast as the clock");
    Ok(code(failed > 0))
}
