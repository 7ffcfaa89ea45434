"""Killed with -9 at any moment under load: every acked event is in the lake once, and every reader agrees."""

import random
import subprocess
import time

import pytest

from ground import engines
from ground.model import Model
from ground.server import BINARY, REPOSITORY
from ground.wire import Producer, Socket, inserts

SOURCES = ["shop-1", "shop-2", "shop-3", "shop-4"]
CONFIG = {"flushThresholdEvents": 1500, "flushIntervalMs": 400, "flushThresholdMs": 400}
TABLES = ["users", "orders"]


def endless(source, seed):
    """Batches of small real-looking events of two tables, until nobody asks for more."""
    chance = random.Random(f"{seed}/{source}/events")
    sequence = 0
    while True:
        batch = []
        for _ in range(chance.randint(1, 60)):
            sequence += 1
            row = {"id": sequence, "who": f"{source} çé 日本 {sequence % 97}", "sum": f"{sequence}.10",
                   "big": 2**60 + sequence, "none": None, "place": {"x": chance.random(), "y": sequence % 7}}
            operation = chance.choices(["INSERT", "UPDATE", "DELETE"], [8, 3, 1])[0]
            event = {"sequence": sequence, "timestamp": 1_700_000_000_000 + sequence, "operation": operation,
                     "table": TABLES[sequence % 2], "rowId": f"{sequence % 500}"}
            if operation != "DELETE":
                event["after"] = row
            if operation != "INSERT":
                event["before"] = row
            batch.append(event)
        yield batch


class Remembered:
    """Hands batches on and keeps what was handed on."""

    def __init__(self, batches):
        self.batches, self.events = batches, []

    def __iter__(self):
        for batch in self.batches:
            self.events.extend(batch)
            yield batch


@pytest.mark.slow
def test_every_acked_event_is_there_once_after_many_kills(serve, seed, kills):
    server = serve(config=CONFIG)
    chance = random.Random(seed)
    streams = {source: Remembered(endless(source, seed)) for source in SOURCES}
    producers = {source: Producer(server, source, streams[source], pause=0.03, seed=seed) for source in SOURCES}
    for producer in producers.values():
        producer.start()
    for number in range(1, kills + 1):
        # Some lives end while the server still starts, some in their first flush, some in the midst of it all.
        time.sleep(chance.choice([0.02, 0.2, 0.6, 1.2]) * chance.random() + 0.05)
        server.kill()
        if number % 25 == 0:
            # No server helps here: what the files alone say must be whole at any moment.
            for table, folder in engines.table_folders(server.store).items():
                found = engines.scan_path(folder, "SELECT _cdc_source s, _cdc_seq q, count(*) n FROM {} GROUP BY ALL")
                assert all(row["n"] == 1 for row in found), f"{table}: a row twice after kill {number}"
        server.start()
        for producer in producers.values():
            assert producer.is_alive(), producer.failure
    for producer in producers.values():
        producer.enough.set()
    for producer in producers.values():
        producer.finish(60)
    model = Model()
    for source, producer in producers.items():
        acked = {sequence for first, last in producer.acked.values() for sequence in range(first, last + 1)}
        assert acked == {event["sequence"] for event in streams[source].events}, "all that was sent was acked"
        model.accept(source, streams[source].events)
    server.flush()
    for table in TABLES:
        model.check(table, engines.scan_folder(server, table), "iceberg_scan")
        model.check(table, engines.scan_attached(server.url, table), "DuckDB ATTACH")
        model.check(table, engines.scan_pyiceberg(server.url, table), "PyIceberg")
    assert sum(producer.reconnects for producer in producers.values()) >= kills, "the kills were felt"
    server.kill()
    print(server.verify())


@pytest.mark.parametrize("moment_ms", [0, 5, 20, 60, 150, 400])
def test_what_was_acked_outlives_a_kill_right_after_its_ack(serve, moment_ms):
    """An ack is only worth what is there after the next breath."""
    server = serve(config={"flushThresholdEvents": 100, "flushIntervalMs": 100})
    with Socket(server) as socket:
        socket.hello("a")
        for number in range(1, 21):
            assert socket.batch("a", number, inserts(number * 20, number * 20 + 19))["type"] == "ack"
        time.sleep(moment_ms / 1000)
        server.kill()
    server.start()
    with Socket(server) as socket:
        assert socket.hello("a")["sequenceNumber"] == 20
        socket.flush("a")
    rows = engines.scan_folder(server, "notes")
    assert sorted(row["_cdc_seq"] for row in rows) == list(range(20, 420))


def test_the_produce_command_gets_everything_through_kills(serve, tmp_path, flights):
    """`dolake produce` is a producer like any other: it dials again, resends, and ends when all is persisted."""
    server = serve(config=CONFIG)
    path = REPOSITORY / "io" / "demo" / "shard-2.ndjson"
    producer = subprocess.Popen(
        [BINARY, "produce", "--to", server.ws_url, "--source", "shard-2", "--batch", "5", "--until", "persisted", path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(4):
        time.sleep(0.15)
        server.restart()
    out, err = producer.communicate(timeout=90)
    assert producer.returncode == 0, f"{out}\n{err}"
    model = Model().accept("shard-2", flights["shard-2"])
    for table in model.tables:
        model.check(table, engines.scan_pyiceberg(server.url, table), "PyIceberg")
