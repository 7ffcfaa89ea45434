//! How a command ends.

use std::error::Error;
use std::process::ExitCode;

/// For the help text.
pub const HELP: &str = "Exit codes: 0 all is well, 1 a check failed, 2 wrong usage or an error at the start.";

/// The end of a command.
#[derive(Debug)]
pub enum Exit {
    /// All is well.
    Ok,
    /// It ran, and found something wrong, which it has printed.
    CheckFailed,
    /// It could not run. Printed as one line.
    CannotRun(String),
}

impl Exit {
    /// An error that kept a command from running.
    pub fn cannot_run(error: &dyn Error) -> Exit {
        Exit::CannotRun(error.to_string())
    }

    /// Prints what is left to say.
    pub fn finish(self) -> ExitCode {
        match self {
            Exit::Ok => ExitCode::SUCCESS,
            Exit::CheckFailed => ExitCode::from(1),
            Exit::CannotRun(message) => {
                let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
                eprintln!("dolake: {line}");
                ExitCode::from(2)
            }
        }
    }
}
