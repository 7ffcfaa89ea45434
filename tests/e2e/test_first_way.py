"""The first whole way: events of four shards in, the same rows out of every reader, each once."""

import json
import re
import subprocess
import threading

import pytest

from ground import engines
from ground.model import Model, Names, exact
from ground.server import BINARY, REPOSITORY, Dolake, run
from ground.wire import Socket, batch_message, insert

READERS = {
    "iceberg_scan": lambda server, table: engines.scan_folder(server, table),
    "DuckDB ATTACH": lambda server, table: engines.scan_attached(server.url, table),
    "PyIceberg": lambda server, table: engines.scan_pyiceberg(server.url, table),
}


def check_lake(server, model, tables=None):
    """Every reader sees what the model says, in every table."""
    for table in tables or model.tables:
        for name, read in READERS.items():
            model.check(table, read(server, table), name)


def send(server, source, events, batch=500):
    """Sends events as one producer would and waits until they are acked."""
    with Socket(server) as socket:
        socket.hello(source)
        for number, start in enumerate(range(0, len(events), batch), 1):
            answer = socket.batch(source, number, events[start:start + batch])
            assert answer["type"] == "ack" and answer["status"] == "buffered", answer


@pytest.fixture(scope="module")
def filled(tmp_path_factory, flights):
    """A server that took all flights through `dolake produce`, four at once, in small flushes."""
    server = Dolake(tmp_path_factory.mktemp("filled"), config={"flushThresholdEvents": 1000, "flushIntervalMs": 500})
    with server.start():
        producers = []
        for source in flights:
            producers.append(subprocess.Popen(
                [BINARY, "produce", "--to", server.ws_url, "--source", source, "--batch", "100",
                 demo_file(source)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        for producer in producers:
            out, err = producer.communicate(timeout=120)
            assert producer.returncode == 0, f"{out}\n{err}"
        yield server


def demo_file(source):
    return REPOSITORY / "io" / "demo" / f"{source}.ndjson"


@pytest.fixture(scope="module")
def model(flights):
    model = Model()
    for source, events in flights.items():
        model.accept(source, events)
    return model


@pytest.mark.parametrize("table", ["airlines", "airports", "flights", "planes", "weather"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_sees_each_accepted_event_once_and_unchanged(filled, model, reader, table):
    model.check(table, READERS[reader](filled, table), reader)


def test_a_file_that_is_sent_again_changes_nothing(filled, model):
    done = run("produce", "--to", filled.ws_url, "--source", "shard-4", "--batch", "100", demo_file("shard-4"))
    assert done.returncode == 0, done.stderr
    filled.flush()
    model.check("planes", engines.scan_folder(filled, "planes"))


def test_types_are_what_the_json_said(filled):
    flights = {field.name: str(field.field_type)
               for field in engines.pyiceberg_catalog(filled.url).load_table("default.flights").schema().fields}
    expected = {
        "carrier": "string", "flight": "long", "tailnum": "string", "scheduled_ns": "long", "dep_delay": "long",
        "remarks": "list<string>", "_cdc_key": "string", "_cdc_source": "string", "_cdc_epoch": "string",
        "_cdc_seq": "long", "_cdc_ts": "timestamptz", "_cdc_rescued": "string", "_cdc_op": "string",
    }
    assert {name: flights.get(name) for name in expected} == expected
    assert flights["route"].startswith("struct<") and flights["_cdc_before"].startswith("struct<")


def test_unicode_large_integers_and_decimals_in_strings_arrive_unchanged(filled):
    db = engines.connect_duckdb()
    airports = engines.table_folders(filled.store)["airports"]
    found = db.execute(f"SELECT name FROM iceberg_scan('{airports}') WHERE iata = 'BIU'").fetchall()
    assert found == [("Bíldudalur Airport",)]
    table = engines.table_folders(filled.store)["flights"]
    found = db.execute(
        f"SELECT DISTINCT scheduled_ns, route.km FROM iceberg_scan('{table}') "
        "WHERE _cdc_key = '9E3368@2013-02-08T00:00:00Z'").fetchall()
    assert found == [(1360281600000000000, "547.176960")]


def test_a_cancelled_flight_is_read_as_a_delete_with_its_last_row(filled, flights):
    cancelled = sum(event["operation"] == "DELETE" for events in flights.values() for event in events)
    table = engines.table_folders(filled.store)["flights"]
    found = engines.connect_duckdb().execute(
        f"SELECT count(*), count(carrier), count(_cdc_before) FROM iceberg_scan('{table}') WHERE _cdc_op = 'DELETE'")
    assert found.fetchall() == [(cancelled, cancelled, cancelled)]


def test_the_catalog_lists_what_is_there(filled):
    catalog = engines.pyiceberg_catalog(filled.url)
    assert ("default",) in catalog.list_namespaces()
    names = {name for _, name in catalog.list_tables("default")}
    assert names == {"airlines", "airports", "flights", "planes", "weather"}
    with engines.attached(filled.url) as (db, lake):
        shown = {row[0] for row in db.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = ?", [lake]).fetchall()}
    assert names <= shown


def test_a_table_says_its_mode_in_its_properties(filled):
    properties = engines.pyiceberg_catalog(filled.url).load_table("default.flights").properties
    assert properties["dolake.mode"] == "changelog" and properties["dolake.keyScope"] == "source"


def test_the_tables_command_shows_them_all(filled):
    done = run("tables", "--store", filled.store, "--json")
    assert done.returncode == 0, done.stderr
    for table in ("airlines", "airports", "flights", "planes", "weather"):
        assert table in done.stdout


def nested(depth):
    return {"d": nested(depth - 1)} if depth else 1


ROWS = {
    "nulls, booleans and text": [{"a": None, "b": True, "c": "x"}, {"a": "late", "b": False, "c": ""}, {"b": None}],
    "integers to the edges of 64 bits": [{"n": 2**63 - 1}, {"n": -(2**63)}, {"n": 0}],
    "integers beyond 64 bits": [{"n": 2**63}, {"n": -(10**37)}, {"n": 1}],
    "doubles": [{"x": 0.1}, {"x": 1e308}, {"x": -5e-324}, {"x": 3.0}],
    "integers and doubles in one column": [{"x": 1}, {"x": 2.5}, {"x": -7}],
    "objects in objects": [{"o": {"a": {"b": {"c": 1}}}}, {"o": {"a": {"b": {"d": "x"}}}}, {"o": None}],
    "lists": [{"l": [1, 2, 3]}, {"l": []}, {"l": None}, {"l": [None, 4]}],
    "lists of objects": [{"l": [{"a": 1, "b": "x"}, {"a": 2}]}, {"l": [{"b": "y"}]}],
    "lists of lists": [{"l": [[1], [2, 3]]}, {"l": [[], [4]]}],
    "elements of several kinds": [{"l": [1, "x", {"a": None}]}, {"l": [True, None]}, {"l": [[1], 2.5]}],
    "objects too deep for columns": [{"o": nested(12)}, {"o": nested(9)}, {"o": {"a": {"b": 1}}}],
    "an object with too many keys": [{"o": {f"k{n}": n for n in range(300)}}, {"o": {"k1": 5}}],
    "unicode": [{"名前": "山田", "e": "🛫 \u0000 \u2028 é e\u0301"}, {"名前": "שלום", "e": "\\ \" \n"}],
    "names that engines find hard": [{"select": 1, "a b": 2, "A B": 3, "x.y": 4, "x": {"y": 5}}],
    "reserved names": [{"_cdc_key": "mine", "_file": "f", "_pos": 3, "ok": 1}],
    "a string where numbers were": [{"v": 1}, {"v": "one"}, {"v": 2}],
    "an object where a number was": [{"v": 1}, {"v": {"a": 1}}],
    "numbers that no double holds": [{"x": 0.1}, {"x": "RAW:0.1234567890123456789012345"}],
    "empty rows": [{}, {"a": 1}, {}],
    "empty objects and lists": [{"o": {}, "l": []}, {"o": {"a": 1}, "l": ["x"]}],
}


@pytest.mark.parametrize("flushes", ["one flush", "a flush for each event"])
def test_any_row_comes_back_from_every_reader(serve, flushes):
    """Hard values, all in one flush and each in a flush of its own, where types are met one by one."""
    each = flushes != "one flush"
    server = serve(config={"flushThresholdEvents": 1_000_000, "flushIntervalMs": 3_600_000})
    model = Model()
    with Socket(server) as socket:
        socket.hello("rows")
        sequence = 0
        longest = max(map(len, ROWS.values()))
        for turn in range(longest):
            events = []
            for index, rows in enumerate(ROWS.values()):
                if turn < len(rows):
                    sequence += 1
                    events.append(insert(sequence, f"rows_{index}", after=rows[turn]))
            message = socket_text(events, turn + 1)
            socket.send(message)
            assert socket.answer(turn + 1)["type"] == "ack", socket.seen[-1]
            model.accept("rows", exact_events(message))
            if each:
                socket.flush("rows")
        socket.flush("rows")
    for table in sorted(model.tables):
        names = Names(engines.pyiceberg_catalog(server.url).load_table(("default", table)).schema())
        for name, read in READERS.items():
            model.check(table, names.rows(read(server, table)), f"{name}: {list(ROWS)[int(table[5:])]}:")


def socket_text(events, number):
    """A batch as text; `RAW:` strings become bare numbers, with digits that Python would cut."""
    text = json.dumps(batch_message("rows", number, events), ensure_ascii=False)
    return re.sub(r'"RAW:([^"]*)"', r"\1", text)


def exact_events(text):
    return exact(text)["events"]


def test_readers_see_whole_flushes_while_events_flow(serve, flights):
    """Under load a reader never sees a row twice, a broken file, or a later state become an earlier one."""
    server = serve(config={"flushThresholdEvents": 300, "flushIntervalMs": 200})
    sender = threading.Thread(target=send, args=(server, "shard-1", flights["shard-1"], 50), daemon=True)
    sender.start()
    counts, table = [], "flights"
    while sender.is_alive():
        if server.get("/v1/namespaces/default/tables/flights").status == 200:
            found = engines.scan_attached(
                server.url, table, sql="SELECT count(*) AS n, count(DISTINCT _cdc_seq) AS d FROM {}")[0]
            assert found["n"] == found["d"]
            counts.append(found["n"])
    sender.join()
    server.flush()
    assert counts == sorted(counts)
    model = Model().accept("shard-1", flights["shard-1"])
    check_lake(server, model)


def test_a_graceful_stop_commits_what_was_acked(serve, flights):
    server = serve(config={"flushThresholdEvents": 1_000_000, "flushIntervalMs": 3_600_000})
    send(server, "shard-4", flights["shard-4"])
    assert server.stop() == 0, server.log()
    model = Model().accept("shard-4", flights["shard-4"])
    for table in model.tables:
        model.check(table, engines.scan_folder(server, table), "iceberg_scan")
    server.verify()
