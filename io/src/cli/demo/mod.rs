//! `dolake demo`: the main job in under a minute. Real rows of four shards go through a bad network into a server that
//! is killed in the middle; afterwards every event is in the lake, once.

mod cutter;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dolake_core::producer::{Progress, RefusedBatch, Until};
use dolake_core::verify::SourceEpoch;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::exit::Exit;
use super::lake_view::LookError;
use super::{produce, serve, tables, verify};
use crate::host::clock::SystemClock;
use crate::produce::driver::{self, ProduceError, Watcher};
use crate::produce::input::{Input, InputBatch, InputError, Numbering};
use crate::produce::link::Url;
use cutter::Cutter;
use server::{Places, Server};

/// Flights from New York in 2013: what each shard sends, one change event a line.
const SHARDS: [(&str, &str); 4] = [
    ("shard-1", include_str!("../../../demo/shard-1.ndjson")),
    ("shard-2", include_str!("../../../demo/shard-2.ndjson")),
    ("shard-3", include_str!("../../../demo/shard-3.ndjson")),
    ("shard-4", include_str!("../../../demo/shard-4.ndjson")),
];

/// A lake that one can watch: flushes come every second rather than every half minute.
const CONFIG: &str = "{ \"flushIntervalMs\": 1000 }\n";

const BATCH_EVENTS: u64 = 20;

/// Between two batches of a shard, so that there is time for something to go wrong.
const PACE: Duration = Duration::from_millis(60);

/// Something is wrong if it takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the server is looked after.
const WATCH: Duration = Duration::from_millis(500);

/// Where to play.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the lake, the journal and the server's log. Played again in the same folder, nothing changes
    #[arg(long, value_name = "DIR", default_value = "./dolake-demo")]
    pub dir: PathBuf,
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The system says no.
    #[error("demo: {0}")]
    System(#[from] std::io::Error),
    /// The server did not start, or ended by itself.
    #[error("demo: the server does not run; {} says why", log.display())]
    Server {
        /// What it logged.
        log: PathBuf,
    },
    /// The server did not end well.
    #[error("demo: expected the server to stop with exit code 0")]
    Stop,
    /// A shard could not send.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// Randomness is missing.
    #[error(transparent)]
    Seed(#[from] produce::Error),
    /// A batch was refused.
    #[error("demo: {source_id}: the server refused events {first} to {last}: {message}")]
    Refused {
        /// The shard.
        source_id: String,
        /// First event.
        first: u64,
        /// Last event.
        last: u64,
        /// Why.
        message: String,
    },
    /// It takes too long.
    #[error("demo: expected all events to be in the lake within {} s", PATIENCE.as_secs())]
    Slow,
    /// The lake cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The lake cannot be verified.
    #[error(transparent)]
    Verify(#[from] verify::Error),
}

/// Runs `dolake demo`.
pub fn run(args: &Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::cannot_run(&error),
    };
    let began = Instant::now();
    let places = match prepare(&args.dir) {
        Ok(places) => places,
        Err(error) => return Exit::cannot_run(&error),
    };
    let played = runtime.block_on(async { tokio::time::timeout(PATIENCE, play(&places)).await });
    match played.unwrap_or(Err(DemoError::Slow)).and_then(|()| judge(&places)) {
        Ok(true) => {
            say_how_to_go_on(&places.lake, began.elapsed());
            Exit::Ok
        }
        Ok(false) => Exit::CheckFailed,
        Err(error) => Exit::cannot_run(&error),
    }
}

fn prepare(folder: &Path) -> Result<Places, DemoError> {
    std::fs::create_dir_all(folder)?;
    let places = Places::below(&folder.canonicalize()?);
    std::fs::write(&places.config, CONFIG)?;
    Ok(places)
}

/// Accepted events of each shard.
type Accepted = [u64; SHARDS.len()];

async fn play(places: &Places) -> Result<(), DemoError> {
    let events: usize = SHARDS.iter().map(|(_, text)| text.lines().count()).sum();
    let mut server = Server::start(places, 0)?;
    let address = server.address;
    println!("1. A server on http://{address}, its lake in {}", places.lake.display());

    let network = Cutter::start(address).await?;
    println!("2. {} shards send {events} change events through a network that cuts connections", SHARDS.len());
    let (accepted, mut watched) = watch::channel(Accepted::default());
    let mut shards = JoinSet::new();
    for shard in 0..SHARDS.len() {
        shards.spawn(send(shard, format!("ws://{}/lakehouse", network.address), accepted.clone()));
    }
    drop(accepted);

    let half = events as u64 / 2;
    // Fails only when all shards have ended, which they do not before their last event is in the lake.
    if let Ok(at) = watched.wait_for(|accepted| accepted.iter().sum::<u64>() >= half).await.map(|at| *at) {
        server.kill()?;
        println!("3. kill -9 after {} acked events, and a new start from the journal", at.iter().sum::<u64>());
        server = Server::start(places, address.port())?;
    }
    let mut total = Progress::default();
    loop {
        let ended = match tokio::time::timeout(WATCH, shards.join_next()).await {
            Ok(Some(ended)) => ended,
            Ok(None) => break,
            Err(_) if server.has_ended()? => return Err(DemoError::Server { log: places.log.clone() }),
            Err(_) => continue,
        };
        let progress = ended.expect("a shard's task ends")?;
        total.persisted_events += progress.persisted_events;
        total.resends += progress.resends;
        total.sessions += progress.sessions;
    }
    println!(
        "4. All {} events are acked as persisted; {} connections were cut, {} opened, {} batches sent again",
        total.persisted_events,
        network.cuts(),
        total.sessions,
        total.resends,
    );
    server.stop()
}

/// Plays one shard.
async fn send(shard: usize, url: String, accepted: watch::Sender<Accepted>) -> Result<Progress, DemoError> {
    let (source, text) = SHARDS[shard];
    let config = produce::producer_config(source, None, Some(Numbering::Filled));
    let mut watcher = ShardWatcher { shard, accepted, refused: None };
    let (server, clock) = (Url(url), Arc::new(SystemClock));
    let progress =
        driver::produce(server, clock, config, produce::seed()?, paced(text), Until::Persisted, &mut watcher).await?;
    match watcher.refused {
        None => Ok(progress),
        Some(batch) => Err(DemoError::Refused {
            source_id: source.to_owned(),
            first: batch.first_event_sequence,
            last: batch.last_event_sequence,
            message: batch.message,
        }),
    }
}

fn paced(text: &'static str) -> Receiver<Result<InputBatch, InputError>> {
    let (sender, receiver) = channel(1);
    tokio::spawn(async move {
        let mut input = Input::new(text.as_bytes(), BATCH_EVENTS);
        while let Some(batch) = input.next_batch().transpose() {
            if sender.send(batch).await.is_err() {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
    });
    receiver
}

struct ShardWatcher {
    shard: usize,
    accepted: watch::Sender<Accepted>,
    refused: Option<RefusedBatch>,
}

impl Watcher for ShardWatcher {
    fn progress(&mut self, progress: Progress) {
        self.accepted.send_modify(|accepted| accepted[self.shard] = progress.accepted_events);
    }

    fn refused(&mut self, batch: RefusedBatch) {
        self.refused.get_or_insert(batch);
    }
}

/// Verifies the lake, and that it holds all events of each shard once each; prints what it found.
fn judge(places: &Places) -> Result<bool, DemoError> {
    let store = places.lake.to_string_lossy();
    let verified = verify::verify(&store, Some(&serve::journal_of(&store, None)))?;
    let mut all_there = verified.untruths.is_empty();
    for untruth in &verified.untruths {
        println!("untrue: {untruth}");
    }
    let sequences = verified.sequences();
    for (shard, text) in SHARDS {
        let events = text.lines().count() as u64;
        let key = SourceEpoch { source: shard.to_owned(), epoch: String::new() };
        let missing = sequences.get(&key).map_or_else(|| vec![(1, events)], |(all, _)| all.missing(1, events));
        if !missing.is_empty() {
            println!("{shard}: expected events 1 to {events} once each, missing {missing:?}");
            all_there = false;
        }
    }
    if all_there {
        println!("5. Verified: metadata, manifests, files, counts, bounds, and every event in one row\n");
        print!("{}", tables::text(&store)?);
    }
    Ok(all_there)
}

fn say_how_to_go_on(lake: &Path, took: Duration) {
    let lake = lake.display();
    println!("\nDone in {:.0} s. Go on with DuckDB:\n", took.as_secs_f64());
    println!("  INSTALL iceberg; LOAD iceberg;");
    println!("  SELECT _cdc_op, count(*) FROM iceberg_scan('{lake}/warehouse/default/flights') GROUP BY ALL;\n");
    println!("or with the catalog, while `dolake serve --store {lake}` runs:\n");
    println!("  ATTACH '' AS lake (TYPE iceberg, ENDPOINT 'http://127.0.0.1:8181', AUTHORIZATION_TYPE 'none');");
    println!("  SHOW ALL TABLES;");
}
