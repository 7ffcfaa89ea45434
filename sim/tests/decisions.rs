//! A run that is written down is the same when it is played; any lists at all can be played; what fails is made small
//! and goes on failing.

use dolake_sim::decisions::Decisions;
use dolake_sim::plan::Plan;
use dolake_sim::record::Recorder;
use dolake_sim::rng::Rng;
use dolake_sim::run::{Told, play, record, run};
use dolake_sim::shrink::shrink;
use dolake_sim::trace::Trace;
use dolake_sim::world::World;

#[test]
fn a_run_that_is_played_is_the_run_that_was_recorded() {
    for seed in 0..20 {
        let plain = run(seed, false, Recorder::hashing());
        let (recorded, trace) = record(seed, &|_| None);
        let kept = Trace::read(&trace.write()).expect("it was written");
        let played = play(&kept, Told::Nobody, &|_| None).expect("its plan is a seed's");
        assert_eq!((recorded.hash, played.hash), (plain.hash, plain.hash), "seed {seed}");
        assert_eq!(played.decisions, trace.decisions, "seed {seed}");
    }
}

#[test]
fn a_run_without_decisions_is_calm_and_ends_well() {
    let report = play(&Trace::default(), Told::Nobody, &|_| None).expect("the calm plan");
    assert_eq!(report.violation, None);
    assert_eq!(report.decisions, Decisions::default());
    assert!(report.counts["steps"] > 0);
}

/// Decisions with the questions of a real run, and anything as their answers.
fn garbage(seed: u64) -> Trace {
    let mut rng = Rng::new(seed, "garbage");
    let (_, mut trace) = record(seed, &|_| None);
    let questions: Vec<String> = trace.decisions.questions().map(str::to_owned).collect();
    for question in questions {
        let most = *rng.pick(&[2, 3, 100, 100_000, u64::MAX]);
        let answers = (0..rng.below(2_000)).map(|_| rng.below(most)).collect();
        trace.decisions.set(&question, answers);
    }
    trace.decisions.set("nobody/asks this", vec![1, 2, 3]);
    trace
}

#[test]
fn garbage_is_a_run_like_any_other() {
    for seed in 100..112 {
        let trace = garbage(seed);
        let play = || play(&trace, Told::Nobody, &|_| None).expect("its plan is a seed's");
        let report = play();
        // Answers that could not be became calm; what then happens is the machine's to bear.
        assert_eq!(report.violation, None, "seed {seed}");
        assert_eq!(report.hash, play().hash, "seed {seed}");
        assert_eq!(report.decisions.of("nobody/asks this"), [0_u64; 0]);
    }
}

/// A check that fails where a process died after something was acked, and a batch was sent again since.
fn watch(world: &World) -> Option<String> {
    let count = |what: &str| world.counts.get(what).copied().unwrap_or(0);
    (count("crash") > 0 && count("batch sent again") > 0).then(|| "a crash and a batch that was sent again".to_owned())
}

#[test]
fn a_failing_run_is_made_small_and_goes_on_failing() {
    let fails = |seed: &u64| Plan::of(*seed).sources > 2 && record(*seed, &watch).0.violation.is_some();
    let seed = (0..200).find(fails).expect("crashes are frequent");
    let (_, trace) = record(seed, &watch);
    // A budget in runs, not in time: the same on every machine.
    let asked = std::cell::Cell::new(0.0);
    let left = || {
        asked.set(asked.get() + 1.0);
        1.0 - asked.get() / 6_000.0
    };
    let small = shrink(&trace, &left, &watch).expect("it fails");
    assert!(small.after.set * 20 < small.before.set, "{} became {}", small.before, small.after);
    assert!(small.after.decisions.set < 25, "{}", small.trace.write());
    let report = play(&small.trace, Told::Report, &watch).expect("it was played");
    assert_eq!(report.violation.map(|violation| violation.check), Some("watch"));
    assert_eq!((report.counts["crash"], report.counts["batch sent again"]), (1, 1));
    assert!(report.story.iter().any(|(_, line)| line == "* crash"));
}

#[test]
fn a_run_that_does_not_fail_is_not_made_small() {
    let (_, trace) = record(0, &|_| None);
    let error = shrink(&trace, &|| 1.0, &|_| None).expect_err("nothing fails");
    assert_eq!(error, "no check fails in this run");
}
