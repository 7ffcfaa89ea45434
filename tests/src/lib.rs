//! What crosses crates. The Rust tests in `tests/tests` judge the source itself; everything that runs the real binary
//! with real engines is Python and lies in `tests/e2e` (`tests/run` runs both); `tests/bench` measures.
//!
//! Here is only what those tests share: the project's files, as lines.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no source of ours.
const FOREIGN: [&str; 5] = ["target", ".git", ".venv", "node_modules", "lake"];

/// A text file of the project.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path below the project's root, with `/`.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

impl SourceFile {
    /// Lines with their numbers, from 1, without what follows `//`: code, not comments.
    ///
    /// A `//` inside a string cuts its line short, which can hide a word but never invent one.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }
}

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// All text files whose path below the root begins with `below` and ends with one of `endings`, in order of their paths.
///
/// # Panics
/// A folder or file of the project cannot be read.
pub fn files(below: &str, endings: &[&str]) -> Vec<SourceFile> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.retain(|path| path.starts_with(below) && endings.iter().any(|ending| path.ends_with(ending)));
    found.sort();
    found.into_iter().map(|path| SourceFile { text: read(&path), path }).collect()
}

fn read(path: &str) -> String {
    let bytes = fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if entry.path().is_dir() {
            if !FOREIGN.contains(&name.as_str()) && !name.starts_with("__") {
                walk(&entry.path(), &path, found);
            }
        } else {
            found.push(path);
        }
    }
}
