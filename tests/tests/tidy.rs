//! The house rules that no compiler checks. Each objection names its file and line.

use dolake_tests::{SourceFile, files};

/// Where a word stands in code, as `path:line: line`.
fn places(files: &[SourceFile], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.code() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    found
}

fn check(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn rust() -> Vec<SourceFile> {
    files("", &[".rs"])
}

#[test]
fn core_has_no_clock() {
    let words = ["Instant::", "SystemTime", "std::time::", "chrono", "time::now"];
    check("core takes time as an argument of `step`", &places(&files("core/src", &[".rs"]), &words));
}

#[test]
fn core_has_no_chance() {
    let words = ["rand::", "getrandom", "thread_rng", "new_v4", "RandomState", "fastrand"];
    check("core draws from its `Seed` alone", &places(&files("core/src", &[".rs"]), &words));
}

#[test]
fn core_has_no_thread_and_no_async() {
    let words = ["std::thread", "thread::", "thread_local!", "Mutex", "RwLock", "async fn", "async move"];
    let waits = [".await;", ".await?", ".await)", ".await."];
    let atomics = ["std::sync::atomic", "AtomicU", "AtomicBool", "OnceLock", "LazyLock"];
    let all: Vec<&str> = words.into_iter().chain(atomics).chain(waits).collect();
    // Under a feature that no released binary has, it remembers which planted bug its thread runs with.
    let source =
        files("core/src", &[".rs"]).into_iter().filter(|file| file.path != "core/src/mutant.rs").collect::<Vec<_>>();
    check("core is one machine that is stepped", &places(&source, &all));
}

#[test]
fn every_mutant_is_planted() {
    let core = files("core/src", &[".rs"]);
    let list = core.iter().find(|file| file.path == "core/src/mutant.rs").expect("the list of mutants");
    let names: Vec<&str> = list
        .code()
        .filter_map(|(_, line)| line.strip_prefix("    ")?.strip_suffix(','))
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    assert!(names.len() >= 30, "the list is read: {names:?}");
    let planted = |name: &&str| core.iter().any(|file| file.text.contains(&format!("mutant!({name})")));
    let missing: Vec<String> = names.into_iter().filter(|name| !planted(name)).map(str::to_owned).collect();
    check("mutants that stand nowhere", &missing);
}

#[test]
fn core_has_no_hash_order() {
    let words = ["HashMap", "HashSet", "hash_map", "hash_set", "DefaultHasher"];
    check("core's maps are BTreeMaps", &places(&files("core/src", &[".rs"]), &words));
}

#[test]
fn core_does_no_io() {
    let words = ["std::fs", "std::net", "std::env", "std::process", "println!", "print!(", "stdout()", "stderr()"];
    check("core has commands, hosts carry them out", &places(&files("core/src", &[".rs"]), &words));
}

#[test]
fn core_and_sim_are_safe_code() {
    let word = concat!("un", "safe ");
    let may = |file: &SourceFile| file.path.starts_with("io/") || file.path == "workers-host/src/wasm.rs";
    let found: Vec<SourceFile> = rust().into_iter().filter(|file| !may(file)).collect();
    check("there is none of it", &places(&found, &[word]));
}

#[test]
fn nothing_is_left_to_be_done() {
    let words = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("XX", "X")];
    check("finish it or leave it out", &places(&rust(), &words));
}

#[test]
fn no_file_knows_the_machine_it_was_made_on() {
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("\"/tm", "p/")];
    let endings = [".rs", ".toml", ".py", ".md", ".sh", ".yml", ".yaml", ".json", ".mjs", "/run"];
    let mut found = Vec::new();
    for file in files("", &endings) {
        for (number, line) in file.text.lines().enumerate() {
            if folders.iter().any(|folder| line.contains(folder)) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    check("paths of one machine", &found);
}

#[test]
fn every_module_says_what_it_does() {
    // A test file beside its module is opened by the module.
    let silent: Vec<String> = rust()
        .into_iter()
        .filter(|file| !file.text.starts_with("//!") && !file.path.ends_with("tests.rs"))
        .map(|file| file.path)
        .collect();
    check("files that do not open with `//!`", &silent);
}

#[test]
fn a_file_is_one_idea() {
    const LINES_MAX: usize = 600;
    let long: Vec<String> = rust()
        .into_iter()
        .filter(|file| file.text.lines().count() > LINES_MAX)
        .map(|file| format!("{}: {} lines", file.path, file.text.lines().count()))
        .collect();
    check("files with two ideas in them", &long);
}

#[test]
fn a_match_on_our_own_enums_has_no_wildcard() {
    let manifest = files("Cargo.toml", &["Cargo.toml"]).remove(0).text;
    assert!(manifest.contains("wildcard_enum_match_arm = \"warn\""), "clippy checks it, if the workspace asks it to");
}
