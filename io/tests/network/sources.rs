//! Producers: the driver of `dolake produce` on the simulated network, and what each was told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dolake_core::Seed;
use dolake_core::producer::{Progress, RefusedBatch, Until};
use dolake_io::cli::produce::producer_config;
use dolake_io::produce::driver::{self, Watcher};
use dolake_io::produce::input::{InputBatch, InputError, Numbering};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

use crate::net::{SimClock, SimDial};

/// A source and what it was told, over all lives of its process.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) batches: u64,
    pub(crate) batch_events: u64,
    /// Between two batches.
    pub(crate) pace: Duration,
    pub(crate) seed: u64,
    pub(crate) told: Mutex<Told>,
}

#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) progress: Progress,
    /// The most events that were ever said to be in the lake.
    pub(crate) persisted_events: u64,
    pub(crate) done: bool,
    /// Everything that it was told, and when, for comparing two runs.
    pub(crate) story: Vec<String>,
}

impl Source {
    pub(crate) fn events(&self) -> u64 {
        self.batches * self.batch_events
    }

    async fn produce(self: Arc<Source>) -> turmoil::Result {
        let config = producer_config(&self.name, Some("e".to_owned()), Some(Numbering::Filled));
        let clock = Arc::new(SimClock::default());
        let seed = Seed(u128::from(self.seed));
        let mut watcher = Ear { source: Arc::clone(&self) };
        let input = Arc::clone(&self).input();
        let progress = driver::produce(SimDial, clock, config, seed, input, Until::Persisted, &mut watcher).await?;
        let told = (progress.offered_events, progress.accepted_events, progress.persisted_events);
        assert_eq!(told, (self.events(), self.events(), self.events()), "{}: {progress:?}", self.name);
        self.told.lock().expect("one thread").done = true;
        Ok(())
    }

    fn input(self: Arc<Source>) -> Receiver<Result<InputBatch, InputError>> {
        let (sender, receiver) = channel(2);
        tokio::spawn(async move {
            for n in 0..self.batches {
                if sender.send(Ok(self.batch(n))).await.is_err() {
                    break;
                }
                tokio::time::sleep(self.pace).await;
            }
        });
        receiver
    }

    pub(crate) fn batch(&self, n: u64) -> InputBatch {
        let (first, last) = (n * self.batch_events + 1, (n + 1) * self.batch_events);
        let events: Vec<String> = (first..=last).map(event).collect();
        InputBatch { events: format!("[{}]", events.join(",")), count: self.batch_events, first, last }
    }
}

/// The `sequence`-th event of a source, in one of three tables.
pub(crate) fn event(sequence: u64) -> String {
    format!(
        r#"{{"sequence":{sequence},"timestamp":1700000000000,"operation":"INSERT","table":"t{}","rowId":"r{sequence}","after":{{"n":{sequence},"text":"row {sequence} of a source"}}}}"#,
        sequence % 3
    )
}

/// The software of a node: all its sources, until each is done.
pub(crate) async fn run(sources: Vec<Arc<Source>>) -> turmoil::Result {
    let mut running: JoinSet<turmoil::Result> = JoinSet::new();
    for source in sources {
        running.spawn_local(source.produce());
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

struct Ear {
    source: Arc<Source>,
}

impl Watcher for Ear {
    fn progress(&mut self, progress: Progress) {
        let at_ms = turmoil::sim_elapsed().expect("inside the simulation").as_millis();
        let mut told = self.source.told.lock().expect("one thread");
        told.progress = progress;
        told.persisted_events = told.persisted_events.max(progress.persisted_events);
        told.story.push(format!("{at_ms} ms: {progress:?}"));
    }

    fn refused(&mut self, batch: RefusedBatch) {
        panic!("{}: a good batch was refused: {batch:?}", self.source.name);
    }
}
