//! `dolake-sim shrink`: makes a failing run small.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dolake_sim::run::{Told, play, record};
use dolake_sim::shrink::{self as shrinking, rust_test::rust_test, story};

use super::{Ended, code, load, save};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["seed", "file"])))]
pub(crate) struct Arguments {
    /// The seed of the run.
    #[arg(long)]
    seed: Option<u64>,
    /// The file in which the run was kept.
    file: Option<PathBuf>,
    /// How long to try, in minutes.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Where the small run is kept; the default is beside the file, or `shrunk-SEED.json`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(crate) fn shrink(arguments: &Arguments) -> Ended {
    let Arguments { seed, file, minutes, save: kept } = arguments;
    let budget = Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())?;
    let (trace, path) = match (seed, file) {
        (Some(seed), _) => (record(*seed, &|_| None).1, PathBuf::from(format!("shrunk-{seed}.json"))),
        (None, Some(file)) => (load(file)?, file.with_extension("shrunk.json")),
        (None, None) => return Err("expected a seed or a file".to_owned()),
    };
    // Panics of the machine are findings, and the same one comes many times.
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let left = || 1.0 - began.elapsed().as_secs_f64() / budget.as_secs_f64();
    let shrunk = shrinking::shrink(&trace, &left, &|_| None)?;
    let report = play(&shrunk.trace, Told::Report, &|_| None)?;
    std::panic::set_hook(loud);
    println!("{}: {}", shrunk.trace.check, shrunk.trace.message);
    println!("before: {}\nafter:  {}", shrunk.before, shrunk.after);
    let end = if shrunk.is_cut_short { ", and more could be tried: --minutes" } else { "" };
    println!("{} runs in {:.1} s{end}", shrunk.runs, began.elapsed().as_secs_f64());
    let path = kept.as_ref().unwrap_or(&path);
    save(&shrunk.trace, path)?;
    println!("kept in {}\n", path.display());
    story::tell(&report.story).iter().for_each(|line| println!("{line}"));
    println!("\n{}", rust_test(&shrunk.trace));
    Ok(code(report.violation.is_some()))
}
