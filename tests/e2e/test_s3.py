"""The lake in a real S3 server, in fair and in foul weather."""

import itertools
import random
import time
import zlib

import pytest

from ground import engines
from ground.model import Model
from ground.s3 import BUCKET, Weather
from ground.server import run, wait_until
from ground.wire import Producer, Socket, inserts

STORE = f"s3://{BUCKET}/one"
CONFIG = {"flushThresholdEvents": 500, "flushIntervalMs": 300, "flushThresholdMs": 300, "maxRetryDelayMs": 1000}


@pytest.fixture
def weather(storage, seed):
    weather = Weather(storage, seed)
    yield weather
    weather.stop()


@pytest.fixture
def store(request):
    """A prefix of its own for each test."""
    return f"{STORE}/{zlib.crc32(request.node.nodeid.encode())}"


def batches(events, size=50):
    return [events[start:start + size] for start in range(0, len(events), size)]


def check(server, storage, model):
    for table in model.tables:
        model.check(table, engines.scan_attached(server.url, table, s3=storage), "DuckDB ATTACH")
        model.check(table, engines.scan_pyiceberg(server.url, table, s3=storage), "PyIceberg")


def produce_all(server, flights, size=50, **more):
    producers = [Producer(server, source, batches(events, size), **more) for source, events in flights.items()]
    for producer in producers:
        producer.start()
    return producers


def test_a_lake_in_s3_is_read_by_every_engine(serve, storage, store, flights):
    server = serve(store=store, env=storage.env, config=CONFIG)
    for producer in produce_all(server, flights):
        producer.finish()
    model = Model()
    for source, events in flights.items():
        model.accept(source, events)
    server.flush()  # its answer waits for the hints that readers by path need
    check(server, storage, model)
    location = engines.pyiceberg_catalog(server.url, storage).load_table("default.flights").location()
    assert location.startswith(store)
    db = engines.connect_duckdb(storage)
    model.check("flights", engines.scan_path(location, db=db), "iceberg_scan")
    assert server.stop() == 0
    server.verify()
    done = run("tables", "--store", store, "--json", env=storage.env)
    assert done.returncode == 0 and "flights" in done.stdout, done.stderr


def test_a_failing_spell_is_told_survived_and_forgotten(serve, storage, weather, store, flights, seed):
    """503s, cut connections, and requests that were carried out but whose answers were lost."""
    server = serve(store=store, env=weather.env, config=CONFIG)
    producers = produce_all(server, flights, size=10, window=2, pause=0.08, seed=seed)
    time.sleep(1)
    weather.sky = lambda method, path, chance: chance.choice(["503", "cut before", "cut after", "fair"])
    time.sleep(1)
    weather.sky = lambda method, path, chance: chance.choice(["503", "cut after"])
    with Socket(server) as socket:
        socket.hello("witness")
        numbers = itertools.count(1)

        def told():
            number = next(numbers)
            return socket.batch("witness", number, inserts(number * 2, number * 2 + 1))["status"] == "fallback"

        wait_until("an ack that says fallback", told)
    assert server.status()["circuitBreaker"] != "closed"
    assert server.get("/health").status == 200
    weather.fair()
    for producer in producers:
        producer.finish(90)
    server.flush()
    model = Model()
    for source, events in flights.items():
        model.accept(source, events)
    check_without_witness(server, storage, model)
    assert weather.counts["cut after"] > 0 and weather.counts["503"] > 0, weather.counts
    wait_until("the circuit breaker to close", lambda: server.status()["circuitBreaker"] == "closed")
    assert server.stop() == 0
    server.verify()


def check_without_witness(server, storage, model):
    for table in model.tables:
        rows = engines.scan_attached(server.url, table, s3=storage)
        model.check(table, [row for row in rows if row["_cdc_source"] != "witness"], "DuckDB ATTACH")


def test_a_slow_spell_costs_latency_of_marks_and_not_of_acks(serve, storage, weather, store):
    server = serve(store=store, env=weather.env, config=CONFIG)
    with Socket(server) as socket:
        socket.hello("a")
        weather.delay_seconds = 1.0
        waits = []
        for number in range(1, 101):
            begin = time.monotonic()
            assert socket.batch("a", number, inserts(number * 10, number * 10 + 9))["status"] == "buffered"
            waits.append(time.monotonic() - begin)
        assert sorted(waits)[90] < 0.5, sorted(waits)
        weather.fair()
        assert socket.persisted(100, seconds=60)
    model = Model().accept("a", [event for number in range(1, 101) for event in inserts(number * 10, number * 10 + 9)])
    check(server, storage, model)


@pytest.mark.slow
def test_killed_in_foul_weather_nothing_acked_is_lost(serve, storage, weather, store, flights, seed):
    """Lost answers and lost processes together: commits whose fate nobody knew."""
    chance = random.Random(seed)
    server = serve(store=store, env=weather.env, config=CONFIG)
    producers = produce_all(server, flights, pause=0.1, seed=seed)
    weather.sky = lambda method, path, luck: luck.choices(["fair", "cut after", "cut before", "503"], [8, 2, 1, 1])[0]
    for _ in range(8):
        time.sleep(0.2 + chance.random())
        server.restart()
    weather.fair()
    for producer in producers:
        producer.finish(90)
    model = Model()
    for source, events in flights.items():
        model.accept(source, events)
    check(server, storage, model)
    assert server.stop() == 0
    server.verify()


def test_large_files_go_up_in_parts(serve, storage, store):
    """One flush of 24 MB that no codec makes smaller: more than a part's size in one object."""
    server = serve(store=store, env=storage.env, config={
        "flushThresholdEvents": 1_000_000, "flushIntervalMs": 3_600_000, "flushThresholdBytes": 100_000_000,
        "parquetCompression": "none"})
    chance = random.Random(7)
    events = [{"sequence": n, "timestamp": n, "operation": "INSERT", "table": "blobs", "rowId": str(n),
               "after": {"hex": chance.randbytes(5000).hex()}} for n in range(1, 2401)]
    with Socket(server) as socket:
        socket.hello("a")
        for number, batch in enumerate(batches(events, 100), 1):
            assert socket.batch("a", number, batch)["status"] == "buffered"
        socket.flush("a")
    check(server, storage, Model().accept("a", events))
    sizes = [info.size for info in storage.filesystem().get_file_info(
        [path for path in storage.objects() if "/blobs/data/" in path])]
    assert max(sizes) > 10 << 20, sizes
    server.kill()
    server.verify()


def test_a_store_that_hangs_fills_the_journal_and_then_refuses(serve, storage, weather, store):
    """Nothing is dropped: past the limit a batch is refused with retry, and taken when the weather clears."""
    server = serve(store=store, env=weather.env, config={
        **CONFIG, "maxBufferSize": 4_500_000, "maxFallbackSize": 500_000, "maxPayloadSize": 4_194_304})
    weather.sky = lambda method, path, chance: "hold"
    text = "x" * 900
    with Socket(server) as socket:
        socket.hello("a")
        number, answer = 0, None
        while number < 100:
            number += 1
            events = [dict(event, after={"t": text}) for event in inserts(number * 100, number * 100 + 99)]
            answer = socket.batch("a", number, events)
            if answer["type"] == "nack":
                break
        assert (answer["reason"], answer["shouldRetry"]) == ("buffer_full", True), answer
        assert 20 < number < 80 and answer["retryDelayMs"] > 0
        weather.fair()

        def taken():
            return socket.batch("a", number, events, retry=1)["type"] == "ack"

        wait_until("the refused batch to be taken", taken, seconds=60)
        socket.persisted(number, seconds=60)
    rows = engines.scan_pyiceberg(server.url, "notes", s3=storage)
    assert sorted(row["_cdc_seq"] for row in rows) == list(range(100, number * 100 + 100))
