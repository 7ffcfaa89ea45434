//! One simulated world: the host, its store, and nodes with producers, all on one thread and one seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime};

use dolake_core::Config;
use dolake_core::verify::{Ranges, SourceEpoch};
use dolake_io::cli::lake_view::LakeView;
use dolake_io::cli::verify::{Verified, verify_view};
use dolake_sim::rng::Rng;
use tempfile::TempDir;
use turmoil::{Builder, Sim};

use crate::host::{Host, State};
use crate::net::{HOST, STORE, SimClock};
use crate::objects::{Objects, StoreFaults};
use crate::sources::{self, Source};

/// Simulated time between two looks at the network. Timers within it are exact.
const TICK: Duration = Duration::from_millis(5);

/// When every simulation begins: a fixed moment, so that a seed says everything.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// When everything must be in the lake after the last fault: silences of a minute, back-off of half a minute, and then
/// two flush intervals.
const LIVELY: Duration = Duration::from_secs(300);

/// How long a stop may take while the store works.
const STOPPING: Duration = Duration::from_secs(30);

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Nodes with producers.
    pub(crate) nodes: usize,
    /// Sources of each node.
    pub(crate) sources: usize,
    /// Batches of each source, about.
    pub(crate) batches: u64,
    /// Between two of them at most.
    pub(crate) pace_ms_max: u64,
    /// A message on its way takes at most so long.
    pub(crate) latency_ms_max: u64,
    /// Segments that a connection has on its way at once.
    pub(crate) segments: usize,
    pub(crate) config: Config,
}

impl Default for Plan {
    fn default() -> Plan {
        let config = Config { flush_interval_ms: 2_000, flush_threshold_ms: 4_000, ..Config::default() };
        Plan { nodes: 3, sources: 2, batches: 60, pace_ms_max: 400, latency_ms_max: 120, segments: 64, config }
    }
}

/// The world. Its faults are the scenario's; drawn from [`World::rng`].
pub(crate) struct World {
    pub(crate) sim: Sim<'static>,
    pub(crate) rng: Rng,
    pub(crate) host: Arc<Host>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) nodes: Vec<String>,
    folder: TempDir,
    lives: u32,
}

impl World {
    pub(crate) fn new(seed: u64, plan: &Plan) -> World {
        listen_for_panics();
        let mut rng = Rng::new(seed, "faults");
        let mut sim = Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH + EPOCH)
            .tick_duration(TICK)
            .simulation_duration(Duration::MAX)
            .tcp_capacity(plan.segments)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(rng.between(2, plan.latency_ms_max)))
            .build();
        let folder = folder();
        let host = Arc::new(Host {
            journal: folder.path().join("journal.db"),
            config: plan.config.clone(),
            clock: SimClock::default(),
            chance: Arc::new(Mutex::new(Rng::new(seed, "host"))),
            late_ms_max: rng.below(15),
            stop: tokio::sync::Notify::new(),
            state: Mutex::new(State::Starting),
        });
        let objects = Objects::new(Rng::new(seed, "store"));
        let server = Arc::clone(&objects);
        sim.host(STORE.0, move || Arc::clone(&server).serve());
        let software = Arc::clone(&host);
        sim.host(HOST.0, move || Arc::clone(&software).live());
        let mut world = World { sim, rng, host, objects, sources: Vec::new(), nodes: Vec::new(), folder, lives: 1 };
        for _ in 0..plan.nodes {
            world.add_node(plan);
        }
        // Its first moment: now there is a journal.
        world.step();
        world
    }

    /// A node with producers of its own.
    pub(crate) fn add_node(&mut self, plan: &Plan) {
        let node = format!("node-{}", self.nodes.len());
        let sources: Vec<Arc<Source>> = (0..plan.sources).map(|n| self.source(&format!("{node}-{n}"), plan)).collect();
        self.sources.extend(sources.iter().cloned());
        self.sim.host(node.as_str(), move || sources::run(sources.clone()));
        self.nodes.push(node);
    }

    /// A source that is not running.
    pub(crate) fn source(&mut self, name: &str, plan: &Plan) -> Arc<Source> {
        Arc::new(Source {
            name: name.to_owned(),
            batches: self.rng.between(plan.batches / 2, plan.batches),
            batch_events: self.rng.between(1, 40),
            pace: Duration::from_millis(self.rng.below(plan.pace_ms_max + 1)),
            seed: self.rng.next(),
            told: Mutex::default(),
        })
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.step();
        }
    }

    /// Lets some time pass, at most so much.
    pub(crate) fn run_some(&mut self, ms_max: u64) {
        let ms = self.rng.below(ms_max + 1);
        self.run(Duration::from_millis(ms));
    }

    /// Lets time pass until something is so.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, what: &str, is_so: impl Fn(&World) -> bool) {
        let until = self.sim.elapsed() + limit;
        while !is_so(self) {
            assert!(self.sim.elapsed() < until, "after {limit:?} still not: {what}\n{}", self.standing());
            self.step();
        }
    }

    fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            panic!("at {:?}: {error}", self.sim.elapsed());
        }
        let panics = PANICS.take();
        assert!(panics.is_empty(), "at {:?}: {}", self.sim.elapsed(), panics.join("\n"));
    }

    fn standing(&self) -> String {
        let standing = |source: &Arc<Source>| {
            let told = source.told.lock().expect("one thread");
            format!(
                "{}: {} of {} events, {:?}",
                source.name,
                told.progress.persisted_events,
                source.events(),
                told.progress
            )
        };
        let sources: Vec<String> = self.sources.iter().map(standing).collect();
        format!("host: {:?}, life {}\n{}", self.host.state(), self.lives, sources.join("\n"))
    }

    /// A mild mixture of what object stores do, drawn anew.
    pub(crate) fn trouble_store(&mut self) {
        let mut up_to = |most: u64| u32::try_from(self.rng.below(most + 1)).expect("fits");
        self.objects.set(StoreFaults {
            refused: up_to(100_000),
            failed_before: up_to(100_000),
            failed_after: up_to(150_000),
            slow_ms_max: u64::from(up_to(300)),
        });
    }

    /// The host's process is killed: its files are as they are at this moment. With `silent`, the machine lost its
    /// power or its network with it, so that nobody hears of it.
    pub(crate) fn crash_host(&mut self, silent: bool) {
        if silent {
            self.each_link(|sim, a, b| sim.partition(a, b));
        }
        let kept = self.copy_journal("kept");
        self.sim.crash(HOST.0);
        let journal = self.host.journal.clone();
        remove_journal(&journal);
        copy_journal(&kept, &journal);
        self.judge(&kept);
    }

    /// A new life of the host.
    pub(crate) fn start_host(&mut self) {
        *self.host.state.lock().expect("one thread") = State::Starting;
        self.lives += 1;
        self.sim.bounce(HOST.0);
    }

    /// Asks the host to stop and waits until it has.
    #[track_caller]
    pub(crate) fn stop_host(&mut self) {
        self.host.stop.notify_one();
        self.run_until(STOPPING, "the host has stopped", |world| world.host.state() == State::Stopped);
    }

    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        self.run_until(STOPPING, "the host is ready", |world| world.host.state() == State::Ready);
    }

    /// Whether all sources are done.
    pub(crate) fn is_done(&self) -> bool {
        self.sources.iter().all(|source| source.told.lock().expect("one thread").done)
    }

    /// For each link of the host.
    pub(crate) fn each_link(&self, change: impl Fn(&Sim<'static>, &str, &str)) {
        for node in self.nodes.iter().map(String::as_str).chain([STORE.0]) {
            change(&self.sim, HOST.0, node);
        }
    }

    /// No more faults: everything that was sent must come into the lake, once, and the host must stop when it is told.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.each_link(|sim, a, b| {
            sim.release(a, b);
            sim.repair(a, b);
        });
        self.objects.set(StoreFaults::default());
        self.run_until(LIVELY, "everything is in the lake", World::is_done);
        self.stop_host();
        let kept = self.copy_journal("end");
        let found = self.judge(&kept);
        assert_eq!(found.waiting, Some(0), "a host that stopped left events in its journal though the store works");
        let sequences = sequences(&found);
        for source in &self.sources {
            let events = sequences.get(source.name.as_str()).map(|ranges| ranges.iter().collect::<Vec<_>>());
            assert_eq!(events, Some(vec![(1, source.events())]), "{}: events in the lake", source.name);
        }
        self.sources
            .iter()
            .flat_map(|source| std::mem::take(&mut source.told.lock().expect("one thread").story))
            .collect()
    }

    /// Holds the lake, as store and journal have it, against what the sources were told until now.
    #[track_caller]
    fn judge(&self, journal: &Path) -> Verified {
        let view = LakeView::over(self.objects.view()).expect("a runtime");
        let found = verify_view(&view, Some(journal)).expect("store and journal can be read");
        assert_eq!(found.untruths, [], "what the lake says and is not so");
        let sequences = sequences(&found);
        for source in &self.sources {
            let told = source.told.lock().expect("one thread");
            let in_lake = sequences.get(source.name.as_str()).map_or(0, Ranges::count);
            let said = told.persisted_events;
            assert!(said <= in_lake, "{}: {said} events said to be in the lake, {in_lake} are", source.name);
        }
        found
    }

    /// The journal's files as a killed process would leave them.
    fn copy_journal(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(format!("{name}.db"));
        remove_journal(&copy);
        copy_journal(&self.host.journal, &copy);
        copy
    }
}

/// Events in the lake, by source. That none is there twice, `verify` has seen to.
fn sequences(found: &Verified) -> BTreeMap<&str, Ranges> {
    let by_source = found.sequences().into_iter();
    by_source.map(|(SourceEpoch { source, .. }, (all, _))| (source.as_str(), all)).collect()
}

fn log_of(journal: &Path) -> PathBuf {
    journal.with_extension("db-wal")
}

fn remove_journal(journal: &Path) {
    for file in [journal.to_owned(), log_of(journal)] {
        // It may not be there.
        let _ = std::fs::remove_file(file);
    }
}

fn copy_journal(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("a journal");
    // Without a log, all is in the file.
    let _ = std::fs::copy(log_of(from), log_of(to));
}

/// In memory where that is possible: the simulation has no use for a real sync.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

/// A task that panics ends the process in production (a loop) or its connection alone; here it always is a failure.
fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
    PANICS.take();
}
