//! The commands of `dolake-sim`, a file each. Files, the clock and the terminal's arguments are used here alone.
//!
//! Exit codes: 0 if nothing is wrong, 1 if a check failed, 2 if the command itself could not be carried out.

pub(crate) mod dump;
pub(crate) mod hash;
pub(crate) mod mutants;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod shrink;
pub(crate) mod stats;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use dolake_sim::trace::Trace;

/// What a command ends with: its exit code, or what kept it from its work.
pub(crate) type Ended = Result<ExitCode, String>;

/// A range of seeds, as it is written: `0..1000`.
fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, until) = text.split_once("..").ok_or("expected a range like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(until)?;
    if range.is_empty() { Err("expected a first seed below the second number".to_owned()) } else { Ok(range) }
}

fn code(failed: bool) -> ExitCode {
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn save(trace: &Trace, path: &Path) -> Result<(), String> {
    std::fs::write(path, trace.write() + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

fn load(path: &Path) -> Result<Trace, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Trace::read(&text).map_err(|error| format!("{}: {error}", path.display()))
}
