//! The commands of `dolake-sim`, a file each. Files, the clock and the terminal's arguments are used here alone.
//!
//! Exit codes: 0 if nothing is wrong, 1 if a check failed, 2 if the command itself could not be carried out.

pub(crate) mod mutants;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod shrink;
pub(crate) mod stats;

use std::path::Path;
use std::process::ExitCode;

use dolake_sim::trace::Trace;

/// What a command ends with: its exit code, or what kept it from its work.
pub(crate) type Ended = Result<ExitCode, String>;

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
