//! The native host as a node of the simulated network: its journal is a real SQLite file, all else is simulated.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use dolake_core::{Config, Lake, Seed};
use dolake_io::host::clock::Clock;
use dolake_io::host::machine::End;
use dolake_io::host::running::{Change, Parts, Running};
use dolake_io::journal;
use dolake_io::journal::db::Db;
use dolake_io::store::Store;
use dolake_io::store::witness::WitnessConnector;
use dolake_sim::rng::Rng;
use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use tokio::sync::Notify;

use crate::net::{HOST, LateLoops, STORE, SimClock, SimConnector, SimListener};
use crate::objects::LOCATION;

/// What outlives a life of the host, and how the outside speaks to its process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) journal: PathBuf,
    pub(crate) config: Config,
    pub(crate) clock: SimClock,
    pub(crate) chance: Arc<Mutex<Rng>>,
    pub(crate) late_ms_max: u64,
    /// As SIGTERM.
    pub(crate) stop: Notify,
    pub(crate) state: Mutex<State>,
}

/// Where a life of the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It does not take events yet.
    Starting,
    Ready,
    /// It stopped as it was asked to.
    Stopped,
}

impl Host {
    /// One life.
    pub(crate) async fn live(self: Arc<Host>) -> turmoil::Result {
        self.set(State::Starting);
        let db = Db::open(&self.journal)?;
        let saved = journal::saved(&db)?;
        let draw = || u128::from(self.chance.lock().expect("one thread").next());
        let seed = Seed(draw() << 64 | draw());
        let store = store();
        let lake = Lake::restore(self.config.clone(), store.location().to_owned(), seed, self.clock.now(), saved)?;
        let listener = SimListener::bind(HOST.1).await?;
        let loops = LateLoops { chance: Arc::clone(&self.chance), late_ms_max: self.late_ms_max };
        let clock = Arc::new(self.clock.clone());
        let mut running = Running::start(Parts { lake, db, store, clock, loops: &loops, workers: 2, listener });
        loop {
            tokio::select! {
                biased;
                change = running.changed() => match change {
                    Change::Ready => self.set(State::Ready),
                    Change::Ended(End::Stopped) => break,
                    Change::Ended(End::Halted(reason)) => return Err(reason.into()),
                },
                () = self.stop.notified() => running.shutdown(),
            }
        }
        running.leave().await;
        self.set(State::Stopped);
        Ok(())
    }

    fn set(&self, state: State) {
        *self.state.lock().expect("one thread") = state;
    }

    pub(crate) fn state(&self) -> State {
        *self.state.lock().expect("one thread")
    }
}

fn store() -> Store {
    let builder = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}:{}", STORE.0, STORE.1))
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), "true")
        .with_access_key_id("id")
        .with_secret_access_key("secret");
    Store::open_s3(builder, LOCATION, WitnessConnector::over(SimConnector)).expect("opens without a connection")
}
