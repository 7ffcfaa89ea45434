"""What cannot start says why in one line and exits with 2; what starts, starts again."""

import contextlib
import json
import os
import shutil
import signal
import socket as sockets
import sqlite3
import subprocess
import time

import pytest
import websockets

from ground.engines import connect_duckdb, scan_folder, table_folders
from ground.server import BINARY, Dolake, free_port, run
from ground.wire import Socket, inserts


def refused(*arguments, env=None):
    """Runs `serve`, which must not start; returns its one line."""
    done = run("serve", *arguments, timeout=30, env={"RUST_LOG": "off", **(env or {})})
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "panicked" not in lines[0] and len(lines[0]) > 15
    return lines[0]


def test_a_used_port(tmp_path):
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in refused("--listen", address, "--store", tmp_path / "lake")


def test_an_address_that_others_reach_needs_a_word(tmp_path):
    address = f"0.0.0.0:{free_port()}"
    assert "--insecure" in refused("--listen", address, "--store", tmp_path / "lake")
    assert not (tmp_path / "lake").exists()
    server = Dolake(tmp_path, listen_host="0.0.0.0", env={"DOLAKE_INSECURE": "true"})
    with server:
        assert server.get("/health").status == 200


def test_a_row_of_a_source_that_cannot_be_read_ends_the_server_with_a_line(serve):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 3))
        socket.flush("a")
    server.stop()
    with contextlib.closing(sqlite3.connect(server.journal)) as journal:
        changed = journal.execute("UPDATE entries SET value = x'0177' WHERE key = CAST('s/a' AS BLOB)").rowcount
        assert changed == 1
        journal.commit()
    server.start()
    with Socket(server) as socket, pytest.raises(websockets.ConnectionClosed):
        socket.hello("a")
    assert server.process.wait(timeout=30) == 2
    assert "source \"a\"" in server.log() and "panicked" not in server.log()


def test_a_lake_whose_tables_lie_elsewhere(serve):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 3))
        socket.flush("a")
    server.stop()
    folder, config = server.store, server.config_file.read_text()
    server.config_file.write_text('{"r2BasePath": "other"}')
    assert "warehouse/default" in refused(*server.arguments[1:])
    server.config_file.write_text(config)
    server.store = f"{folder}-moved"
    os.rename(folder, server.store)
    assert folder in refused(*server.arguments[1:])
    os.rename(server.store, folder)
    server.store = folder
    server.start()
    with Socket(server) as socket:
        assert socket.batch("a", 2, inserts(4, 6))["status"] == "buffered"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert "file" in refused("--listen", f"127.0.0.1:{free_port()}", "--store", tmp_path / "file" / "lake")


def test_a_folder_that_cannot_be_written(tmp_path):
    """A read-only file system would be a better stand-in, but root writes into read-only folders."""
    assert "/proc" in refused("--listen", f"127.0.0.1:{free_port()}", "--store", "/proc/dolake-lake")


def test_a_config_that_is_wrong_names_the_setting(tmp_path):
    config = tmp_path / "config.json"
    for text, name in [('{"flushIntervalMs": 0}', "flushIntervalMs"), ('{"flushes": 1}', "flushes"), ("{", "config.json")]:
        config.write_text(text)
        said = refused("--listen", f"127.0.0.1:{free_port()}", "--store", tmp_path / "lake", "--config", config)
        assert name in said
    missing = tmp_path / "absent.json"
    assert "absent.json" in refused("--store", tmp_path / "lake", "--config", missing)


def test_a_journal_of_a_newer_version(tmp_path):
    server = Dolake(tmp_path / "one")
    server.start()
    server.stop()
    with contextlib.closing(sqlite3.connect(server.journal)) as journal:
        version, = journal.execute("PRAGMA user_version").fetchone()
        journal.execute(f"PRAGMA user_version = {version + 1}")
    said = refused(*server.arguments[1:])
    assert "newer" in said and str(version + 1) in said


def test_a_file_that_is_no_journal(tmp_path):
    (tmp_path / "journal.db").write_text("this is a shopping list\n" * 200)
    said = refused("--listen", f"127.0.0.1:{free_port()}", "--store", tmp_path / "lake",
                   "--journal", tmp_path / "journal.db")
    assert "journal.db" in said


def test_a_store_that_is_another_lakes(tmp_path):
    # The second has no tables yet, which would lie elsewhere.
    for name, events in [("one", 3), ("two", 0)]:
        with Dolake(tmp_path / name) as server, Socket(server) as socket:
            if events:
                socket.batch("a", 1, inserts(1, events))
            socket.flush("a")
    two = Dolake(tmp_path / "two")
    two.store = str(tmp_path / "one" / "lake")
    assert "belongs to another lake" in refused(*two.arguments[1:])


def test_a_second_process_on_one_journal(serve):
    server = serve()
    other = Dolake(server.folder, config={})
    other.port = free_port()
    assert "journal" in refused(*other.arguments[1:])
    assert server.get("/health").status == 200


def test_arguments_that_make_no_sense(tmp_path):
    for arguments in (["--listen", "nowhere"], ["--store"], ["--nonsense"], ["--listen", "127.0.0.1:99999"]):
        assert run("serve", *arguments, timeout=30).returncode == 2


@pytest.mark.parametrize("command", [[], ["serve"], ["produce"], ["tables"], ["verify"], ["demo"]])
def test_every_command_explains_itself(command):
    done = run(*command, "--help")
    assert done.returncode == 0 and "Usage" in done.stdout


def test_the_default_journal_is_in_the_store(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [BINARY, "serve", "--listen", f"127.0.0.1:{port}"], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    try:
        assert b"listening on" in process.stdout.readline()
        assert (tmp_path / "lake").is_dir()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout.close()


def test_a_second_signal_stops_at_once_and_loses_nothing(serve):
    """The first signal flushes, which here cannot end: the store hangs. What was acked comes back with the next life."""
    server = serve(config={"flushThresholdEvents": 1_000_000, "flushIntervalMs": 3_600_000})
    with Socket(server) as socket:
        socket.hello("a")
        assert socket.batch("a", 1, inserts(1, 1000))["status"] == "buffered"
    process = server.process
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, 130)
    process.stdout.close()
    server.process = None
    server.start()
    with Socket(server) as socket:
        assert socket.hello("a")["sequenceNumber"] == 1
        socket.flush("a")
    server.stop()
    assert "1000" in server.verify() or "1,000" in server.verify()


def test_a_stop_says_so_to_its_producers(serve):
    server = serve()
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        server.process.send_signal(signal.SIGTERM)
        assert socket.closed() in (1001, 1012)
        kinds = {message["type"] for message in socket.seen}
        assert "ack" in kinds
    assert server.process.wait(30) == 0
    server.process.stdout.close()
    server.process = None


def test_a_lost_version_hint_is_repaired_at_start(serve):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 10))
        socket.flush("a")
    server.stop()
    folder = table_folders(server.store)["notes"]
    hint = folder / "metadata" / "version-hint.text"
    right = hint.read_text()
    hint.unlink()
    server.start()
    deadline = time.monotonic() + 10
    while not hint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hint.read_text() == right
    assert len(scan_folder(server, "notes")) == 10


@pytest.mark.parametrize("harm", ["a data file is gone", "a data file is cut short", "a manifest is gone"])
def test_verify_finds_what_is_not_true(serve, harm):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 10))
        socket.flush("a")
    server.stop()
    server.verify()
    folder = table_folders(server.store)["notes"]
    data, = folder.rglob("*.parquet")
    if harm == "a data file is gone":
        data.unlink()
        victim = data
    elif harm == "a data file is cut short":
        os.truncate(data, data.stat().st_size - 5)
        victim = data
    else:
        victim, = [path for path in folder.rglob("*.avro") if not path.name.startswith("snap-")]
        victim.unlink()
    done = run("verify", "--store", server.store, "--journal", server.journal)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert victim.name in done.stdout + done.stderr


def test_verify_and_tables_of_what_is_no_lake_say_so(tmp_path):
    for command in ("tables", "verify"):
        done = run(command, "--store", tmp_path)
        assert done.returncode == 2 and "dolake.json" in done.stderr, (done.stdout, done.stderr)


def test_verify_fails_where_the_hint_names_metadata_that_is_gone(serve):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 10))
        socket.flush("a")
        socket.batch("a", 2, inserts(11, 20))
        socket.flush("a")
    server.stop()
    folder = table_folders(server.store)["notes"]
    max(folder.glob("metadata/*.metadata.json")).unlink()
    done = run("verify", "--store", server.store)
    assert done.returncode == 1 and "metadata.json" in done.stderr, (done.stdout, done.stderr)


def test_the_demo_can_be_played_again_in_its_folder(tmp_path):
    for _ in range(2):
        done = run("demo", "--dir", tmp_path, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "All 5282 events" in done.stdout and "Verified" in done.stdout
    rows, = connect_duckdb().execute(f"SELECT count(*) FROM iceberg_scan('{table_folders(tmp_path / 'lake')['flights']}')").fetchone()
    assert rows == 4179


def test_verify_and_tables_can_answer_in_json(serve):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 10))
        socket.flush("a")
    server.stop()
    for command in ("tables", "verify"):
        done = run(command, "--store", server.store, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_a_lake_can_be_moved_with_its_folder_and_read_by_scan(serve, tmp_path):
    server = serve()
    with Socket(server) as socket:
        socket.batch("a", 1, inserts(1, 10))
        socket.flush("a")
    server.stop()
    moved = shutil.copytree(server.store, tmp_path / "moved")
    folder = table_folders(moved)["notes"]
    shutil.rmtree(server.store)
    found = connect_duckdb().execute(f"SELECT count(*) FROM iceberg_scan('{folder}', allow_moved_paths = true)")
    assert found.fetchall() == [(10,)]
