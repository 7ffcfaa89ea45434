//! Many seeds, each a run of its own; those that failed once; and that a seed means the same every time.

use dolake_core::{Event, Lake};
use dolake_sim::record::{Life, Recorder, encode};
use dolake_sim::run::run;
use dolake_sim::world::LOCATION;

/// Seeds that found a bug once: see `corpus.txt`.
const CORPUS: &str = include_str!("corpus.txt");

/// Seeds of every test run, in as many parts as there are tests, so that they share the processors.
const PART: u64 = 75;

fn check(seed: u64) {
    let report = run(seed, false, Recorder::hashing());
    if let Some(violation) = report.violation {
        panic!(
            "seed {seed}: {}: {}\n    cargo run --release -p dolake-sim -- run --trace --seed {seed}",
            violation.check, violation.message
        );
    }
}

fn check_part(part: u64) {
    (part * PART..(part + 1) * PART).for_each(check);
}

#[test]
fn no_promise_is_broken_in_the_first_part() {
    check_part(0);
}

#[test]
fn no_promise_is_broken_in_the_second_part() {
    check_part(1);
}

#[test]
fn no_promise_is_broken_in_the_third_part() {
    check_part(2);
}

#[test]
fn no_promise_is_broken_in_the_fourth_part() {
    check_part(3);
}

#[test]
fn seeds_that_found_a_bug_find_none_any_more() {
    let numbers = CORPUS.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "#");
    for number in numbers {
        check(number.parse().expect("a line of the corpus begins with a seed"));
    }
}

#[test]
fn the_same_seed_gives_the_same_events_commands_and_bytes() {
    for seed in [1, 7, 19] {
        let hash = || run(seed, false, Recorder::hashing()).hash;
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_runs() {
    let hash = |seed| run(seed, false, Recorder::hashing()).hash;
    assert_ne!(hash(1), hash(2));
}

fn replay(life: &Life) {
    let mut lake = Lake::restore(life.config.clone(), LOCATION.to_owned(), life.seed, life.began, life.saved.clone())
        .expect("it was restored once");
    for (at, (now, event, commands)) in life.steps.iter().enumerate() {
        // Through bytes, as a log on disk would be.
        let event: Event = postcard::from_bytes(&encode(event)).expect("what was written is read");
        let mut again = Vec::new();
        lake.step(*now, event, &mut again);
        assert!(encode(&again) == encode(commands), "step {at} gives other commands");
    }
}

#[test]
fn a_recorded_life_replays_to_the_same_commands() {
    for seed in [3, 11] {
        let record = run(seed, false, Recorder::keeping()).record;
        assert!(!record.lives.is_empty());
        record.lives.iter().for_each(replay);
    }
}
