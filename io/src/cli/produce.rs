//! `dolake produce`: sends change events from a file or standard input.

use std::fs::File;
use std::io::{BufReader, IsTerminal, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use dolake_core::Seed;
use dolake_core::producer::{ProducerConfig, Progress, RefusedBatch, Until};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, channel};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use xxhash_rust::xxh3::Xxh3;

use super::exit::Exit;
use crate::host::clock::SystemClock;
use crate::produce::driver::{self, ProduceError, Watcher};
use crate::produce::input::{Input, InputBatch, InputError, Numbering};
use crate::produce::link::Url;

/// Batches read ahead.
const READ_AHEAD: usize = 4;

const STDIN: &str = "-";

/// What to send, and where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The input has one change event a line:
  {\"timestamp\":1700000000000,\"operation\":\"INSERT\",\"table\":\"users\",\"rowId\":\"1\",\"after\":{\"name\":\"Alice\"}}

Events with a \"sequence\" keep it. Without, they are numbered from 1, and the epoch is a hash of the file: to send a
file again changes nothing. One file at a time for a source; another file is then another epoch, which ends the former.")]
pub struct Args {
    /// The server, such as ws://127.0.0.1:8181/lakehouse
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// The source that the events are of
    #[arg(long, value_name = "ID")]
    pub source: String,
    /// One life of the source's numbering [default: none for events with a sequence, else a hash of the file]
    #[arg(long, value_name = "NAME")]
    pub epoch: Option<String>,
    /// Events of a batch
    #[arg(long, value_name = "EVENTS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub batch: u64,
    /// How safe all events must be before this ends: in a snapshot of the lake, or durable in the server's journal
    #[arg(long, value_enum, default_value_t = Level::Persisted)]
    pub until: Level,
    /// Print a JSON object at the end instead of words
    #[arg(long)]
    pub json: bool,
    /// The events, one JSON object a line; `-` is standard input
    #[arg(value_name = "FILE|-")]
    pub file: String,
}

/// How safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// In a committed snapshot.
    Persisted,
    /// In the journal.
    Buffered,
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("--to {url}: expected an address such as ws://127.0.0.1:8181/lakehouse, got: {what}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file cannot be read.
    #[error("{file}: {source}")]
    File {
        /// As it was given.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Events without sequences from standard input.
    #[error("standard input has events without a sequence: give --epoch NAME, another one for each input")]
    NoEpoch,
    /// The input or the server is no good.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// The system gives no runtime or no randomness.
    #[error("the system refuses what is needed: {0}")]
    System(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    source: &'a str,
    epoch: Option<&'a str>,
    #[serde(flatten)]
    progress: ProgressReport,
    refused: &'a [Refusal],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressReport {
    batches: u64,
    events: u64,
    accepted_events: u64,
    persisted_events: u64,
    refused_events: u64,
    duplicate_batches: u64,
    resends: u64,
    sessions: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    sequence_number: u64,
    first_event_sequence: u64,
    last_event_sequence: u64,
    message: String,
}

/// Runs `dolake produce`.
pub fn run(args: &Args) -> Exit {
    match send(args) {
        Ok(exit) => exit,
        Err(error) => Exit::cannot_run(&error),
    }
}

fn send(args: &Args) -> Result<Exit, Error> {
    let url = address(&args.to)?;
    let (config, input) = open(args)?;
    let epoch = config.source_epoch.clone();
    let seed = seed()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::System(error.to_string()))?;
    let until = match args.until {
        Level::Persisted => Until::Persisted,
        Level::Buffered => Until::Buffered,
    };
    let mut terminal = Terminal::new(until);
    let batches = read_ahead(input);
    let progress = runtime.block_on(driver::produce(
        Url(url),
        Arc::new(SystemClock),
        config,
        seed,
        batches,
        until,
        &mut terminal,
    ))?;
    terminal.bar.finish_and_clear();
    Ok(report(args, epoch.as_deref(), progress, &terminal.refusals))
}

/// The WebSocket's address; one that begins with `http` is taken as the server prints it.
fn address(to: &str) -> Result<String, Error> {
    let bad = |what: String| Error::Url { url: to.to_owned(), what };
    let url = match to.split_once("://") {
        Some(("ws" | "wss", _)) => to.to_owned(),
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some((scheme, _)) => return Err(bad(format!("the scheme {scheme}"))),
        None => return Err(bad("no scheme".to_owned())),
    };
    url.as_str().into_client_request().map_err(|error| bad(error.to_string()))?;
    Ok(url)
}

/// A seed of the system's randomness.
///
/// # Errors
/// The system has none.
pub fn seed() -> Result<Seed, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::System(error.to_string()))?;
    Ok(Seed(u128::from_le_bytes(bytes)))
}

/// A producer whose batch numbers are places in its input.
pub fn producer_config(source: &str, epoch: Option<String>, numbering: Option<Numbering>) -> ProducerConfig {
    ProducerConfig {
        source_epoch: epoch,
        // Given sequences may have gaps, which are no holes; the numbers filled in have none.
        sparse: numbering == Some(Numbering::Given),
        skip_accepted: true,
        ..ProducerConfig::new(source)
    }
}

type Lines = Input<BufReader<Box<dyn Read + Send>>>;

fn open(args: &Args) -> Result<(ProducerConfig, Lines), Error> {
    let explain = |source| Error::File { file: args.file.clone(), source };
    let from_stdin = args.file == STDIN;
    let mut file = None;
    let reader: Box<dyn Read + Send> = if from_stdin {
        Box::new(std::io::stdin())
    } else {
        let opened = File::open(Path::new(&args.file)).map_err(explain)?;
        file = Some(opened.try_clone().map_err(explain)?);
        Box::new(opened)
    };
    let mut input = Input::new(BufReader::with_capacity(1 << 20, reader), args.batch);
    let numbering = input.numbering().map_err(ProduceError::from)?;
    let epoch = match (&args.epoch, numbering, &mut file) {
        (Some(epoch), ..) => Some(epoch.clone()),
        (None, Some(Numbering::Filled), Some(file)) => Some(hash_of(file).map_err(explain)?),
        (None, Some(Numbering::Filled), None) => return Err(Error::NoEpoch),
        (None, Some(Numbering::Given) | None, _) => None,
    };
    Ok((producer_config(&args.source, epoch, numbering), input))
}

/// A hash of the whole file. Leaves it where it was being read.
fn hash_of(file: &mut File) -> std::io::Result<String> {
    let at = file.stream_position()?;
    file.rewind()?;
    let mut hash = Xxh3::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
    }
    file.seek(std::io::SeekFrom::Start(at))?;
    Ok(format!("{:032x}", hash.digest128()))
}

/// Reads on a thread of its own, since standard input may keep it waiting.
fn read_ahead(mut input: Lines) -> Receiver<Result<InputBatch, InputError>> {
    let (sender, receiver) = channel(READ_AHEAD);
    std::thread::spawn(move || {
        while let Some(batch) = input.next_batch().transpose() {
            let failed = batch.is_err();
            if sender.blocking_send(batch).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

/// Shows progress where somebody can see it.
struct Terminal {
    bar: ProgressBar,
    until: Until,
    refusals: Vec<Refusal>,
}

impl Terminal {
    fn new(until: Until) -> Terminal {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} events  {per_sec}  {elapsed}");
        bar.set_style(style.expect("a good template"));
        Terminal { bar, until, refusals: Vec::new() }
    }
}

impl Watcher for Terminal {
    fn progress(&mut self, progress: Progress) {
        let safe_events = match self.until {
            Until::Persisted => progress.persisted_events,
            Until::Buffered => progress.accepted_events,
        };
        self.bar.set_length(progress.offered_events);
        self.bar.set_position(safe_events);
    }

    fn refused(&mut self, batch: RefusedBatch) {
        let refusal = Refusal {
            sequence_number: batch.number,
            first_event_sequence: batch.first_event_sequence,
            last_event_sequence: batch.last_event_sequence,
            message: batch.message,
        };
        self.bar.suspend(|| {
            let Refusal { first_event_sequence, last_event_sequence, message, .. } = &refusal;
            eprintln!("refused: events {first_event_sequence} to {last_event_sequence}: {message}");
        });
        self.refusals.push(refusal);
    }
}

fn report(args: &Args, epoch: Option<&str>, progress: Progress, refusals: &[Refusal]) -> Exit {
    if args.json {
        let progress = ProgressReport {
            batches: progress.offered_batches,
            events: progress.offered_events,
            accepted_events: progress.accepted_events,
            persisted_events: progress.persisted_events,
            refused_events: progress.refused_events,
            duplicate_batches: progress.duplicate_batches,
            resends: progress.resends,
            sessions: progress.sessions,
        };
        let report = Report { source: &args.source, epoch, progress, refused: refusals };
        println!("{}", serde_json::to_string(&report).expect("plain data always encodes"));
    } else {
        println!(
            "{}: {} events in {} batches: {} acked, {} of them persisted, {} refused; {} batches were there before, {} sent again",
            args.source,
            progress.offered_events,
            progress.offered_batches,
            progress.accepted_events,
            progress.persisted_events,
            progress.refused_events,
            progress.duplicate_batches,
            progress.resends,
        );
    }
    if refusals.is_empty() { Exit::Ok } else { Exit::CheckFailed }
}
