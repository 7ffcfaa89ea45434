"""The Durable Object in real workerd: the same promises, judged by the same engines."""

import json
import random
import subprocess
import time

import pytest

from ground import engines
from ground.model import Model
from ground.s3 import BUCKET
from ground.server import run, wait_until
from ground.wire import Producer, Socket, inserts
from ground.workerd import NODE, TESTS, Workerd
from test_kills import SOURCES, TABLES, Remembered, endless

CONFIG = {"flushThresholdEvents": 1500, "flushIntervalMs": 400, "flushThresholdMs": 400}

pytestmark = pytest.mark.workers


@pytest.fixture
def workerd(tmp_path):
    """Starts runtimes: workerd(config…, key_value=…). All of them are gone when the test ends."""
    running = []

    def start(config=None, **more):
        server = Workerd(tmp_path / f"workerd-{len(running)}", config=config, **more)
        running.append(server)
        return server.start()

    yield start
    for server in running:
        server.kill()


@pytest.fixture(params=["sqlite", "key-value"])
def kind(request):
    """Both kinds of storage that an object's class can have."""
    return {"key_value": request.param == "key-value"}


def check(server, storage, model):
    """Everybody's view of the bucket: through the catalog in the worker, and as bare files. Whoever asks for a flush is
    answered when the hints for readers by path are written too, which may otherwise lag behind by a second."""
    server.flush()
    server.export(storage)
    for table in model.tables:
        model.check(table, engines.scan_attached(server.url, table, s3=storage), "DuckDB ATTACH")
        model.check(table, engines.scan_pyiceberg(server.url, table, s3=storage), "PyIceberg")
        location = engines.pyiceberg_catalog(server.url, storage).load_table(f"default.{table}").location()
        assert location.startswith(f"s3://{BUCKET}/warehouse/")
        model.check(table, engines.scan_path(location, db=engines.connect_duckdb(storage)), "iceberg_scan")
    server.verify_in(storage)


def test_what_comes_in_is_read_by_every_engine(workerd, storage, flights, kind):
    server = workerd(config=CONFIG, **kind)
    producers = [Producer(server, source, [events[at:at + 50] for at in range(0, len(events), 50)])
                 for source, events in flights.items()]
    for producer in producers:
        producer.start()
    model = Model()
    for producer, (source, events) in zip(producers, flights.items()):
        producer.finish()
        model.accept(source, events)
    check(server, storage, model)


def test_the_native_producer_feeds_it(workerd, storage, tmp_path, kind):
    server = workerd(config=CONFIG, **kind)
    events = inserts(1, 5000)
    lines = tmp_path / "events.ndjson"
    lines.write_text("".join(json.dumps({key: value for key, value in event.items() if key != "sequence"}) + "\n"
                             for event in events))
    done = run("produce", "--to", server.url, "--source", "shard-1", lines)
    assert done.returncode == 0, done.stderr
    again = run("produce", "--to", server.url, "--source", "shard-1", lines)
    assert again.returncode == 0, again.stderr
    server.export(storage)
    rows = engines.scan_pyiceberg(server.url, "notes", s3=storage)
    assert sorted(row["n"] for row in rows) == list(range(1, 5001))


def under_load(server, seed, disturb, sources=SOURCES, patience=4):
    """Sources write until `disturb` returns; then all of it must be in the lake. Returns the model."""
    streams = {source: Remembered(endless(source, seed)) for source in sources}
    producers = {source: Producer(server, source, streams[source], pause=0.03, seed=seed, patience=patience)
                 for source in sources}
    for producer in producers.values():
        producer.start()
    disturb(producers)
    for producer in producers.values():
        producer.enough.set()
    model = Model()
    for source, producer in producers.items():
        producer.finish(240)
        acked = {sequence for first, last in producer.acked.values() for sequence in range(first, last + 1)}
        assert acked == {event["sequence"] for event in streams[source].events}, "all that was sent was acked"
        model.accept(source, streams[source].events)
    return model


def often(times, pause, deed):
    """Does it again and again; every source must bear it."""
    def disturb(producers):
        for _ in range(times):
            time.sleep(pause())
            deed()
            for producer in producers.values():
                assert producer.is_alive(), producer.failure

    return disturb


@pytest.mark.slow
def test_put_away_at_any_moment_nothing_acked_is_lost(workerd, storage, seed, evictions, kind):
    server = workerd(config=CONFIG, **kind)
    chance = random.Random(seed)
    pause = lambda: chance.choice([0.01, 0.1, 0.6]) * chance.random()
    model = under_load(server, seed, often(evictions, pause, server.abort))
    assert set(model.tables) == set(TABLES)
    check(server, storage, model)


def test_sockets_outlive_an_object_that_sleeps(workerd, storage, seed, evictions, kind):
    """The runtime puts an object to sleep only when it rests, and the local one counts an object as restless for good
    once sockets spoke at the same moment: one source, quiet while it falls asleep."""
    server = workerd(config=CONFIG, **kind)
    chance = random.Random(seed)

    def disturb(producers):
        for _ in range(evictions // 4):
            time.sleep(0.1 * chance.random())
            for producer in producers.values():
                producer.held.set()
            server.evict("hibernate")
            for producer in producers.values():
                assert producer.is_alive(), producer.failure
                producer.held.clear()
        assert all(producer.reconnects == 0 for producer in producers.values()), "no socket was lost"

    model = under_load(server, seed, disturb, sources=SOURCES[:1])
    check(server, storage, model)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_acked_is_lost(workerd, storage, seed, workerd_kills, kind):
    server = workerd(config=CONFIG, **kind)
    chance = random.Random(seed)
    pause = lambda: chance.choice([0.05, 0.3, 1.0]) * chance.random() + 0.1
    model = under_load(server, seed, often(workerd_kills, pause, server.restart))
    check(server, storage, model)


def test_a_restart_goes_on_where_it_was(workerd, storage, kind):
    """Acked and not flushed: the next life of the object flushes it without anybody asking, by its alarm alone."""
    server = workerd(config={"flushThresholdMs": 3_000, "flushIntervalMs": 3_000}, **kind)
    with Socket(server) as socket:
        socket.hello("a")
        assert socket.batch("a", 1, inserts(1, 100))["status"] == "buffered"
    server.restart()
    wait_until("the alarm's flush", lambda: any("/data/" in key for key in keys(server, storage)), 20)
    model = Model().accept("a", inserts(1, 100))
    check(server, storage, model)


def keys(server, storage):
    """Looks into the bucket without a word to the object."""
    server.export(storage)
    return storage.objects()


@pytest.mark.parametrize("file", sorted((TESTS / "saved").glob("*/*.json")), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_an_older_release_left_is_read_by_every_engine(workerd, storage, tmp_path, file):
    """What was in tables then, and what waited in the object's storage."""
    state = json.loads(file.read_text())
    subprocess.run([NODE, TESTS / "saved.mjs", "restore", file, tmp_path / "workerd-0" / "storage"], check=True)
    server = workerd(config=state["config"], key_value=state["keyValue"])
    model = Model()
    for source, said in state["sources"].items():
        model.accept(source, [event for batch in said["batches"] for event in batch])
    check(server, storage, model)
