//! `dolake serve`: puts the host together and runs it until it is told to stop.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::serve::ListenerExt;
use dolake_core::Lake;
use dolake_core::config::ConfigError;
use dolake_core::{Config, Seed};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use super::exit::Exit;
use crate::host::clock::{Clock, SystemClock};
use crate::host::loops::Threads;
use crate::host::machine::End;
use crate::host::running::{Change, Parts, Running};
use crate::journal::db::{self, Db};
use crate::store::{self, Store};

/// Exit code of a stop that was asked for twice: 128 + SIGINT, as shells know it.
const EXIT_AT_ONCE: i32 = 130;

/// Name of the journal inside a store that is a folder.
const JOURNAL_IN_FOLDER: &str = "journal.db";

/// The journal when the store is no folder.
const JOURNAL_BESIDE: &str = "dolake-journal.db";

/// What to serve.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8181", env = "DOLAKE_LISTEN")]
    pub listen: String,
    /// Listen on an address that other machines reach, though whoever reaches it may read and write everything
    #[arg(long, env = "DOLAKE_INSECURE")]
    pub insecure: bool,
    /// Where the lake lies: a folder, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION
    /// and, for any other service than AWS, AWS_ENDPOINT_URL
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", default_value = "./lake", env = "DOLAKE_STORE")]
    pub store: String,
    /// The journal, which holds what is acked and not yet in the lake [default: journal.db in the store's folder, or
    /// ./dolake-journal.db for a bucket]
    #[arg(long, value_name = "FILE", env = "DOLAKE_JOURNAL")]
    pub journal: Option<PathBuf>,
    /// Settings, as a JSON object; what it leaves out has its default
    #[arg(long, value_name = "FILE", env = "DOLAKE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Why the server cannot start. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or is none of this machine's.
    #[error("cannot listen on {address}: {source}; stop the other server or choose another --listen")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others could reach the server, and nothing would keep them from reading and writing.
    #[error(
        "{address} can be reached from other machines, and there are no access tokens yet: listen on 127.0.0.1 behind a \
         proxy that asks who comes, or say --insecure"
    )]
    Reachable {
        /// The address.
        address: SocketAddr,
    },
    /// The configuration cannot be read.
    #[error("config {}: {source}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is no such JSON.
    #[error("config {}: {source}", path.display())]
    ConfigJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A setting cannot be.
    #[error("config {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] db::OpenError),
    /// The journal cannot be read.
    #[error("journal {}: {source}", path.display())]
    ReadJournal {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The machine cannot go on from what is saved.
    #[error("journal {}: {message}", path.display())]
    Restore {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        message: String,
    },
    /// The lake has tables elsewhere.
    #[error(
        "the lake's tables lie elsewhere ({found}), not below {expected}: start it with the --store and the r2BasePath that \
         they were written under; metadata names files by their whole path, so a lake cannot be moved"
    )]
    Misplaced {
        /// A table's metadata.
        found: String,
        /// Where tables would lie.
        expected: String,
    },
    /// The machine cannot go on.
    #[error("{0}")]
    Halted(String),
    /// The system gives no runtime, signals or randomness.
    #[error("the system refuses what a server needs: {0}")]
    System(String),
}

/// Runs `dolake serve`.
pub fn run(args: &Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::cannot_run(&StartError::System(error.to_string())),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => Exit::Ok,
        Err(error) => Exit::cannot_run(&error),
    }
}

/// The file that holds the journal of a store, unless the operator names another.
pub fn journal_of(store: &str, named: Option<&Path>) -> PathBuf {
    match (named, store::open::folder_of(store)) {
        (Some(path), _) => path.to_owned(),
        (None, Some(folder)) => folder.join(JOURNAL_IN_FOLDER),
        (None, None) => PathBuf::from(JOURNAL_BESIDE),
    }
}

async fn serve(args: &Args) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(system)?;
    let config = read_config(args.config.as_deref())?;
    let listen_error = |source| StartError::Listen { address: args.listen.clone(), source };
    let listener = TcpListener::bind(&args.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    if !args.insecure && !address.ip().is_loopback() {
        return Err(StartError::Reachable { address });
    }
    let store = Store::open(&args.store)?;
    let journal_path = journal_of(&args.store, args.journal.as_deref());
    let db = Db::open(&journal_path)?;
    let lake = restore(config, &store, &db, &journal_path)?;

    let listener = listener.tap_io(|stream| {
        // Acks are small and awaited. A socket that refuses this has gone, and says so when it is read.
        let _ = stream.set_nodelay(true);
    });
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let clock = Arc::new(SystemClock);
    let mut host = Running::start(Parts { lake, db, store, clock, loops: &Threads, workers, listener });
    let end = signals.until_ended(&mut host, address).await?;
    host.leave().await;
    match end {
        End::Stopped => {
            info!("stopped");
            Ok(())
        }
        End::Halted(reason) => Err(StartError::Halted(reason)),
    }
}

fn system(error: impl Display) -> StartError {
    StartError::System(error.to_string())
}

/// Who starts the server as a child process reads this line.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening on http://{address}")?;
    stdout.flush()
}

fn read_config(path: Option<&Path>) -> Result<Config, StartError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let path = || path.to_owned();
    let text = std::fs::read_to_string(path()).map_err(|source| StartError::ConfigFile { path: path(), source })?;
    let config: Config =
        serde_json::from_str(&text).map_err(|source| StartError::ConfigJson { path: path(), source })?;
    config.validate().map_err(|source| StartError::Config { path: path(), source })?;
    Ok(config)
}

fn restore(config: Config, store: &Store, db: &Db, path: &Path) -> Result<Lake, StartError> {
    let mut seed = [0_u8; 16];
    getrandom::fill(&mut seed).map_err(system)?;
    let seed = Seed(u128::from_le_bytes(seed));
    let saved =
        crate::journal::saved(db).map_err(|source| StartError::ReadJournal { path: path.to_owned(), source })?;
    let lake = Lake::restore(config, store.location().to_owned(), seed, SystemClock.now(), saved)
        .map_err(|error| StartError::Restore { path: path.to_owned(), message: error.to_string() })?;
    match lake.misplaced() {
        Some(found) => Err(StartError::Misplaced { found: found.to_owned(), expected: lake.tables_location() }),
        None => Ok(lake),
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Says when the host takes events, tells it at the first signal to stop, ends the process at the second, returns
    /// when the machine has ended.
    async fn until_ended(&mut self, host: &mut Running, address: SocketAddr) -> Result<End, StartError> {
        let mut asked = false;
        loop {
            tokio::select! {
                change = host.changed() => match change {
                    Change::Ready => {
                        announce(address).map_err(system)?;
                        continue;
                    }
                    Change::Ended(end) => return Ok(end),
                },
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if asked {
                // What was acked is in the journal, so nothing of it is lost.
                std::process::exit(EXIT_AT_ONCE);
            }
            asked = true;
            info!("stopping: flushing what is buffered; a second signal stops at once");
            host.shutdown();
        }
    }
}
