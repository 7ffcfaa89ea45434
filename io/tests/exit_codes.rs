//! What scripts and people see of the binary: exit codes, and one clear line when something cannot be done.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn dolake(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dolake")).args(arguments).current_dir(folder).output().expect("runs")
}

/// A server on a free port, killed in the end.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dolake"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
        let address = line.trim().strip_prefix("listening on http://").expect("it says where it listens").to_owned();
        Server { child, address }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(status.expect("runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn check_refused(output: &Output, expected: &str) {
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("dolake: ") && line.contains(expected), "{line}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_server_that_cannot_start_says_why_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("bound").to_string();
    check_refused(&dolake(folder, &["serve", "--listen", &taken]), &format!("cannot listen on {taken}"));

    fs::write(folder.join("file"), "x").expect("writes");
    let free = ["serve", "--listen", "127.0.0.1:0"];
    let with = |more: &[&str]| dolake(folder, &[&free[..], more].concat());
    check_refused(&with(&["--store", "file"]), "store file: expected a folder");
    check_refused(&with(&["--store", "s3://"]), "expected a folder or s3://BUCKET/PREFIX");
    check_refused(&with(&["--journal", "no/such/folder/j"]), "journal no/such/folder/j");
    check_refused(&with(&["--config", "missing.json"]), "config missing.json");
    fs::write(folder.join("bad.json"), r#"{"flushIntervalMs": 0}"#).expect("writes");
    check_refused(&with(&["--config", "bad.json"]), "flushIntervalMs: expected a number above 0, got 0");
    fs::write(folder.join("bad.json"), r#"{"flushEvents": 1}"#).expect("writes");
    check_refused(&with(&["--config", "bad.json"]), "unknown field `flushEvents`");
}

#[test]
fn a_second_server_on_the_same_journal_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _server = Server::start(folder.path());
    let second = dolake(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    check_refused(&second, "another process has it open");
}

#[test]
fn a_journal_does_not_serve_the_store_of_another_lake() {
    let folder = tempfile::tempdir().expect("a folder");
    Server::start(folder.path()).signal("TERM");
    let mine = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("lake");
    let arguments =
        ["serve", "--listen", "127.0.0.1:0", "--journal", "j.db", "--store", store.to_str().expect("UTF-8")];
    check_refused(&dolake(mine.path(), &arguments), "lake");
}

#[test]
fn a_server_that_is_told_to_stop_ends_well() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Server::start(folder.path());
        server.signal(signal);
        assert_eq!(server.child.wait().expect("ends").code(), Some(0));
    }
}

#[test]
fn what_is_produced_is_listed_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut server = Server::start(folder);
    let event = |row: u32| {
        format!(r#"{{"timestamp":{row},"operation":"INSERT","table":"t","rowId":"{row}","after":{{"x":{row}}}}}"#)
    };
    let lines: Vec<String> = (1..=1_000).map(event).collect();
    fs::write(folder.join("events"), lines.join("\n")).expect("writes");
    let to = format!("ws://{}/lakehouse", server.address);
    for batch in ["500", "7"] {
        let produced = dolake(folder, &["produce", "--to", &to, "--source", "s", "--batch", batch, "--json", "events"]);
        assert!(produced.status.success(), "{}", String::from_utf8_lossy(&produced.stderr));
        let report: serde_json::Value = serde_json::from_slice(&produced.stdout).expect("JSON");
        assert_eq!(report["persistedEvents"], 1_000);
    }
    server.signal("TERM");
    assert!(server.child.wait().expect("ends").success());

    let tables = dolake(folder, &["tables", "--json"]);
    let tables: serde_json::Value = serde_json::from_slice(&tables.stdout).expect("JSON");
    assert_eq!((&tables[0]["name"], &tables[0]["rows"]), (&"default.t".into(), &1_000.into()));
    let verified = dolake(folder, &["verify", "--journal", "lake/journal.db", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert!(verified.status.success(), "{report}");
    assert_eq!(report["sources"][0]["ranges"], serde_json::json!([[1, 1_000]]));
}

#[test]
fn a_lake_with_a_missing_file_is_not_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(folder);
    fs::write(folder.join("e"), r#"{"timestamp":1,"operation":"INSERT","table":"t","rowId":"1","after":{"x":1}}"#)
        .expect("writes");
    let to = format!("ws://{}/", server.address);
    assert!(dolake(folder, &["produce", "--to", &to, "--source", "s", "e"]).status.success());
    drop(server);
    let data = folder.join("lake/warehouse/default/t/data");
    let file = fs::read_dir(&data).expect("lists").next().expect("one").expect("reads").path();
    fs::remove_file(&file).expect("removes");
    let verified = dolake(folder, &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(String::from_utf8_lossy(&verified.stderr).contains(name));
}

#[test]
fn input_that_cannot_be_sent_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let produce = |to: &str, file: &str| dolake(folder, &["produce", "--to", to, "--source", "s", file]);
    check_refused(&produce("nowhere", "x"), "--to nowhere: expected an address");
    check_refused(&produce("ws://127.0.0.1:1/", "missing"), "missing: No such file");
    fs::write(folder.join("bad"), "[]").expect("writes");
    check_refused(&produce("ws://127.0.0.1:1/", "bad"), "input, line 1: expected one change event");
}

#[test]
fn help_is_no_error_and_wrong_usage_is() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(dolake(folder.path(), &["--help"]).status.code(), Some(0));
    assert_eq!(dolake(folder.path(), &["frobnicate"]).status.code(), Some(2));
    assert_eq!(dolake(folder.path(), &["verify", "--store", "absent"]).status.code(), Some(2));
}
