//! The server of the demo: this same binary as a child process, so that it can be killed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::DemoError;

/// What `dolake serve` prints when it is ready.
const READY: &str = "listening on http://";

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// Where the demo keeps its files.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The lake.
    pub(super) lake: PathBuf,
    /// The server's settings.
    pub(super) config: PathBuf,
    /// What the servers log.
    pub(super) log: PathBuf,
}

impl Places {
    /// Below the demo's folder.
    pub(super) fn below(folder: &Path) -> Places {
        Places { lake: folder.join("lake"), config: folder.join("config.json"), log: folder.join("server.log") }
    }
}

impl Server {
    /// Starts one and waits until it is ready. Port 0 takes a free one.
    ///
    /// # Errors
    /// It cannot be started, or ends before it is ready.
    pub(super) fn start(places: &Places, port: u16) -> Result<Server, DemoError> {
        let log = File::options().create(true).append(true).open(&places.log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .arg("--store")
            .arg(&places.lake)
            .arg("--config")
            .arg(&places.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().strip_prefix(READY).and_then(|address| address.parse().ok()) {
            Some(address) => Ok(Server { child, address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(DemoError::Server { log: places.log.clone() })
            }
        }
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn has_ended(&mut self) -> std::io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn kill(mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// The system has no `kill`, or the server did not end well.
    pub(super) fn stop(mut self) -> Result<(), DemoError> {
        // The standard library sends no signal but SIGKILL; every shell has this one.
        Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status()?;
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err(DemoError::Stop),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless the demo itself failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
