//! What a host without a system, such as Node with the library built as a WebAssembly module, asks of a run: its hash.
//!
//! Built with `cargo rustc --package dolake-sim --lib --crate-type cdylib --target wasm32-unknown-unknown`; `.ci/wasm`
//! compares the hashes with those of the native build. Not part of any other build.

use std::cell::RefCell;

use crate::plan::{Plan, Profile};
use crate::record::Recorder;
use crate::run::run_plan;

thread_local! {
    /// What the host may read: the words of a panic, or what was asked for.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

fn say(text: String) {
    TEXT.with_borrow_mut(|said| *said = text);
}

/// The hash of a seed's run. A check that fails is said ([`text`]); a panic traps, and is said, too.
#[unsafe(no_mangle)]
pub extern "C" fn hash(seed: u64, profile: u32) -> u64 {
    run(seed, profile, Recorder::hashing(), |_| String::new())
}

/// As [`hash`], and the text is every event, command and byte string of the run with its hash, a line each.
#[unsafe(no_mangle)]
pub extern "C" fn lines(seed: u64, profile: u32) -> u64 {
    run(seed, profile, Recorder::telling(), |record| record.lines().join("\n"))
}

fn run(seed: u64, profile: u32, recorder: Recorder, tell: impl Fn(&Recorder) -> String) -> u64 {
    std::panic::set_hook(Box::new(|panic| say(format!("panic: {panic}"))));
    let profile = match profile {
        0 => Profile::Short,
        1 => Profile::Deep,
        _ => Profile::Liveness,
    };
    say(String::new());
    let report = run_plan(seed, Plan::with_profile(seed, profile), false, recorder);
    let told = tell(&report.record);
    say(report.violation.map_or(told, |violation| format!("{}: {}", violation.check, violation.message)));
    report.hash
}

/// Where the text begins.
#[unsafe(no_mangle)]
pub extern "C" fn text() -> *const u8 {
    TEXT.with_borrow(|said| said.as_ptr())
}

/// The text's bytes.
#[unsafe(no_mangle)]
pub extern "C" fn text_len() -> usize {
    TEXT.with_borrow(String::len)
}
