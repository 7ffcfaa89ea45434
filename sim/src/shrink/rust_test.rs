//! Prints a run as a test in Rust, for `sim/tests/found`.

use std::fmt::Write;

use crate::trace::Trace;

/// The test that plays a run and asserts that every check holds.
pub fn rust_test(trace: &Trace) -> String {
    let mut words = trace.message.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() > 100 {
        words = words.chars().take(100).chain("…".chars()).collect();
    }
    let kept = Trace { check: String::new(), message: String::new(), ..trace.clone() };
    let name: String = trace.check.split(':').next().unwrap_or_default().replace(' ', "_");
    let mut text = String::new();
    let written = write!(
        text,
        "/// {}: {words}\n#[test]\nfn {name}_holds() {{\n    holds(\n        r#\"{}\"#,\n    );\n}}\n",
        trace.check,
        kept.write().replace('\n', "\n        "),
    );
    written.expect("a string takes what is written to it");
    text
}
