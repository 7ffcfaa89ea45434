//! What releases left when they died: journals and stores that the present release goes on from.
//!
//! `saved/v1` is of journal format 1. How a state is made and when one is added is said in docs/SIMULATION.md.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use dolake_core::journal::{FORMAT_VERSION, RestoreError};
use dolake_core::{Lake, Seed, Timestamp};
use dolake_sim::saved::State;
use dolake_sim::world::LOCATION;

fn states() -> Vec<(PathBuf, State)> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/saved").read_dir().expect("it is there");
    let files = folders.flat_map(|folder| folder.expect("readable").path().read_dir().expect("a folder"));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let state = State::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, state)
    };
    paths.into_iter().map(read).collect()
}

/// One is of use if there is something to lose: batches in the journal, and tables that other releases wrote.
fn check_worth(path: &Path, state: &State) {
    let saved = state.saved().expect("well formed");
    assert!(!saved.batch_keys.is_empty(), "{}: no batch waits", path.display());
    assert!(saved.control.iter().any(|(key, _)| key.starts_with(b"c/t/")), "{}: no table", path.display());
}

#[test]
fn what_earlier_releases_left_is_gone_on_from_and_ends_with_everything_persisted() {
    let states = states();
    assert!(states.len() >= 4, "{} states", states.len());
    for version in 1..=FORMAT_VERSION {
        assert!(states.iter().any(|(_, state)| state.format_version == version), "no state of format {version}");
    }
    for (path, state) in states {
        check_worth(&path, &state);
        let report = state.go_on().expect("well formed");
        assert_eq!(report.violation, None, "{}", path.display());
        // Those that were there, and those that came after.
        assert!(report.counts["commit"] > 1, "{}: {:?}", path.display(), report.counts);
        assert_eq!(report.counts["final stop"], 1);
    }
}

#[test]
fn a_state_that_lost_an_acked_batch_is_seen() {
    let (_, mut state) = states().into_iter().next().expect("there are some");
    state.journal.retain(|(key, _)| !key.starts_with("x:6200"));
    let violation = state.go_on().expect("well formed").violation.expect("what was acked is gone");
    assert!(matches!(violation.check, "liveness" | "order" | "resume" | "ack"), "{violation:?}");
}

/// A journal of a later release, all other rows of which mean other things than here.
#[test]
fn the_journal_of_a_later_release_is_refused_whatever_it_holds() {
    for (path, state) in states() {
        let mut saved = state.saved().expect("well formed");
        let config = state.run.to_plan().expect("a plan").config;
        for (key, value) in &mut saved.control {
            // The version stands first in the row of the lake.
            *value = if &key[..] == b"c/lake" { Bytes::from_static(&[9, 0xff]) } else { Bytes::from_static(&[0xff]) };
        }
        saved.control.insert(0, (Bytes::from_static(b"c/a new room"), Bytes::new()));
        saved.batch_keys.push(Bytes::from_static(b"b\x07what is this"));
        let restored = Lake::restore(config, LOCATION.to_owned(), Seed(1), Timestamp(0), saved);
        assert_eq!(restored.err(), Some(RestoreError::Newer { found: 9 }), "{}", path.display());
    }
}
