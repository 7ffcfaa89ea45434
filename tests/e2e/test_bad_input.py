"""Bad input of any kind gets its answer and harms nobody else."""

import json
import socket as sockets

import pytest

from conftest import ON_DEMAND
from ground import engines
from ground.server import Dolake
from ground.wire import Socket, batch_message, connect_message, insert, inserts

GOOD = batch_message("bad", 1, inserts(1, 3))


def changed(path, value):
    """The good batch with one thing changed; `...` takes it out."""
    message = json.loads(json.dumps(GOOD))
    spot = message
    for step in path[:-1]:
        spot = spot[step]
    if value is ...:
        del spot[path[-1]]
    else:
        spot[path[-1]] = value
    return message


BAD_BATCHES = {
    "no events": changed(["events"], []),
    "events that are no list": changed(["events"], {"0": 1}),
    "no list of events": changed(["events"], ...),
    "an event that is no object": changed(["events", 1], 7),
    "a sequence in a string": changed(["events", 1, "sequence"], "2"),
    "a sequence with a fraction": changed(["events", 1, "sequence"], 2.5),
    "a negative sequence": changed(["events", 0, "sequence"], -1),
    "a sequence beyond 2^53": changed(["events", 2, "sequence"], 2**53),
    "no sequence": changed(["events", 1, "sequence"], ...),
    "sequences that fall": changed(["events", 1, "sequence"], 1),
    "a header that says another first event": changed(["firstEventSequence"], 2),
    "a header that says another last event": changed(["lastEventSequence"], 9),
    "no batch number": changed(["sequenceNumber"], ...),
    "batch number 0": changed(["sequenceNumber"], 0),
    "a batch number in a string": changed(["sequenceNumber"], "1"),
    "no source": changed(["sourceDoId"], ...),
    "an empty source": changed(["sourceDoId"], ""),
    "a source that is too long": changed(["sourceDoId"], "x" * 257),
    "an epoch that is too long": changed(["sourceEpoch"], "x" * 129),
    "an unknown operation": changed(["events", 0, "operation"], "UPSERT"),
    "an operation in small letters": changed(["events", 0, "operation"], "insert"),
    "no table": changed(["events", 0, "table"], ...),
    "an empty table": changed(["events", 0, "table"], ""),
    "a table that is a number": changed(["events", 0, "table"], 5),
    "a table that is too long": changed(["events", 0, "table"], "t" * 300),
    "a table that climbs out": changed(["events", 0, "table"], "../../etc/passwd"),
    "a table with a slash": changed(["events", 0, "table"], "a/b"),
    "a table with a control character": changed(["events", 0, "table"], "a\u0001b"),
    "a rowId that is a number": changed(["events", 0, "rowId"], 12),
    "no rowId": changed(["events", 0, "rowId"], ...),
    "an insert without after": changed(["events", 0, "after"], ...),
    "an after that is null": changed(["events", 0, "after"], None),
    "an after that is a list": changed(["events", 0, "after"], [1]),
    "an after that is text": changed(["events", 0, "after"], "{}"),
    "a before that is a number": changed(["events", 0, "before"], 1),
    "a delete with an after": changed(["events", 0, "operation"], "DELETE"),
    "a timestamp in a string": changed(["events", 0, "timestamp"], "now"),
    "an event timestamp beyond all calendars": changed(["events", 0, "timestamp"], 2**62),
    "isRetry that is text": changed(["isRetry"], "no"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Dolake(tmp_path_factory.mktemp("bad"), config=ON_DEMAND) as server:
        yield server


@pytest.mark.parametrize("what", BAD_BATCHES)
def test_a_bad_batch_is_refused_whole_and_its_socket_lives_on(shared, what):
    source = "bad" if "source" in what else f"bad {what}"
    with Socket(shared) as socket:
        socket.send({**BAD_BATCHES[what], "correlationId": "c"} | (
            {"sourceDoId": source} if "source" not in what else {}))
        nack = socket.expect("nack")
        assert (nack["reason"], nack["shouldRetry"]) == ("invalid_format", False), nack
        assert len(nack["errorMessage"]) > 10 and nack["correlationId"] == "c"
        assert socket.batch(f"good {what}", 1, inserts(1, 3), None)["status"] == "buffered"


BAD_TEXTS = {
    "no JSON": "hello",
    "nothing": "",
    "half of it": json.dumps(GOOD)[:-40],
    "two messages in one": json.dumps(GOOD) + json.dumps(GOOD),
    "a list": "[1,2]",
    "null": "null",
    "no type": "{}",
    "an unknown type": '{"type":"drop_table","sourceDoId":"bad"}',
    "a type that is a number": '{"type":7}',
    "a lone surrogate": json.dumps(changed(["events", 0, "after"], {"x": "\ud800"})),
    "a key twice in the envelope": json.dumps(GOOD)[:-1] + ',"sequenceNumber":2}',
    "a thousand brackets": "[" * 1000,
    "a million brackets": '{"type":"cdc_batch","events":' + "[" * 1_000_000,
    "a row a thousand deep": json.dumps(GOOD).replace('{"n": 1}', '{"n":' * 1000 + "1" + "}" * 1000),
    "NaN": json.dumps(GOOD).replace('{"n": 1}', '{"n": NaN}'),
    "a control character in a string": json.dumps(GOOD).replace('"row-1"', '"row\t-1"'),
    "a number that no JSON has": json.dumps(GOOD).replace('{"n": 1}', '{"n": 01}'),
    "a connect without a source": '{"type":"connect","timestamp":1,"lastAckSequence":0,"protocolVersion":1}',
    "a connect whose resume point is text": json.dumps(connect_message("bad", "7")),
    "a heartbeat without anything": '{"type":"heartbeat"}',
}


@pytest.mark.parametrize("what", BAD_TEXTS)
def test_a_bad_message_is_refused_and_its_socket_lives_on(shared, what):
    with Socket(shared) as socket:
        socket.send(BAD_TEXTS[what])
        nack = socket.expect("nack")
        assert (nack["reason"], nack["shouldRetry"]) == ("invalid_format", False), nack
        assert socket.batch(f"good text {what}", 1, inserts(1, 3))["status"] == "buffered"


def test_a_binary_message_is_refused(shared):
    with Socket(shared) as socket:
        socket.send(b"\x00\x01\x02")
        assert socket.expect("nack")["reason"] == "invalid_format"
        socket.send(json.dumps(GOOD).encode())
        assert socket.expect("nack")["reason"] == "invalid_format"


def test_extra_fields_are_ignored(shared):
    with Socket(shared) as socket:
        message = batch_message("extra", 1, [insert(1, flavour="mint")], colour="red")
        socket.send({**message, "nested": {"a": [1, {"b": None}]}})
        assert socket.answer(1)["status"] == "buffered"


def test_an_event_that_is_too_large_is_named_with_the_limit(serve):
    server = serve(config={**ON_DEMAND, "maxEventSize": 10_000})
    with Socket(server) as socket:
        nack = socket.batch("a", 1, [insert(1, after={"x": "y" * 11_000})])
        assert (nack["reason"], nack["shouldRetry"], nack["maxSize"]) == ("event_too_large", False, 10_000)
        assert socket.batch("a", 1, inserts(1, 3))["status"] == "buffered"


def test_the_third_message_that_is_too_large_closes_the_socket_and_no_other(serve):
    server = serve(config={**ON_DEMAND, "maxPayloadSize": 100_000, "maxEventSize": 50_000})
    large = batch_message("a", 1, [insert(n, after={"x": "y" * 1000}) for n in range(1, 150)])
    with Socket(server) as socket, Socket(server) as other:
        for _ in range(2):
            socket.send(large)
            nack = socket.expect("nack", reason="payload_too_large")
            assert nack["shouldRetry"] is False and nack["maxSize"] == 100_000
        socket.send(large)
        assert socket.closed() == 1008
        assert other.batch("b", 1, inserts(1, 3))["status"] == "buffered"


def test_a_message_beyond_all_limits_does_not_fill_the_memory(shared):
    before = shared.memory_mb()
    with Socket(shared) as socket:
        try:
            socket.send('{"type":"cdc_batch","events":["' + "x" * 60_000_000 + '"]}')
            socket.closed(seconds=30)
        except Exception as cut:  # the server may close while we are still sending
            assert "onnection" in type(cut).__name__ or isinstance(cut, (OSError, AssertionError, TimeoutError)), cut
    assert shared.get("/health").status == 200
    assert shared.memory_mb() < before + 120


def test_what_was_refused_is_not_in_the_lake(shared):
    """Runs last in this module: of the good batches every event is there, of the bad sources none."""
    shared.flush()
    for table, folder in engines.table_folders(shared.store).items():
        sources = {row["_cdc_source"] for row in engines.scan_path(folder)}
        assert not {source for source in sources if source.startswith("bad")}, table


BAD_REQUESTS = {
    "an unknown path": ("GET", "/nonsense", None, 404),
    "an unknown path below the mount": ("GET", "/lakehouse/nonsense", None, 404),
    "a path that climbs": ("GET", "/../../etc/passwd", None, 404),
    "the wrong verb": ("DELETE", "/health", None, 405),
    "config that is no JSON": ("PATCH", "/v1/config", b"{", 400),
    "config that is a list": ("PATCH", "/v1/config", b"[]", 400),
    "an unknown setting": ("PATCH", "/v1/config", b'{"flushEvents":1}', 400),
    "a setting of the wrong type": ("PATCH", "/v1/config", b'{"flushIntervalMs":"1"}', 400),
    "a setting that cannot be": ("PATCH", "/v1/config", b'{"flushIntervalMs":0}', 400),
    "settings that contradict one another": ("PATCH", "/v1/config", b'{"maxRetryDelayMs":1}', 400),
    "events that are no JSON": ("POST", "/cdc", b"hello", 400),
    "no events": ("POST", "/cdc", b'{"events":[]}', 400),
    "a bad event": ("POST", "/cdc", b'{"events":[{"sequence":"x"}]}', 400),
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_a_bad_request_is_answered_with_what_is_wrong(shared, what):
    verb, path, body, status = BAD_REQUESTS[what]
    answer = shared.request(verb, path, body, headers={"Content-Type": "application/json", "X-Client-ID": "bad http"})
    assert answer.status == status, answer
    error = answer.json["error"]
    assert error["code"] and error["message"] and error["retryable"] is False
    if status == 405:
        assert "GET" in answer.headers["allow"]


def test_a_refused_setting_changes_nothing(shared):
    before = shared.get("/v1/settings").json
    assert shared.request("PATCH", "/v1/config", b'{"flushIntervalMs":5,"nonsense":1}').status == 400
    assert shared.get("/v1/settings").json == before


NOT_YET = [
    ("POST", "/v1/namespaces"), ("DELETE", "/v1/namespaces/default"), ("POST", "/v1/namespaces/default/tables"),
    ("DELETE", "/v1/namespaces/default/tables/t"), ("POST", "/v1/namespaces/default/tables/t"),
    ("POST", "/v1/transactions/commit"), ("POST", "/v1/tables/rename"), ("GET", "/v1/namespaces/default/views"),
]


@pytest.mark.parametrize("verb, path", NOT_YET)
def test_what_the_catalog_cannot_do_yet_is_said_in_its_error_model(shared, verb, path):
    answer = shared.request(verb, path, b"{}", headers={"Content-Type": "application/json"})
    assert answer.status == 501, answer
    assert answer.json["error"]["code"] == 501 and answer.json["error"]["type"] and answer.json["error"]["message"]


@pytest.mark.parametrize("path, kind", [
    ("/v1/namespaces/nowhere", "NoSuchNamespaceException"),
    ("/v1/namespaces/nowhere/tables", "NoSuchNamespaceException"),
    ("/v1/namespaces/default/tables/nothing", "NoSuchTableException"),
])
def test_what_the_catalog_does_not_know_is_404_in_its_error_model(shared, path, kind):
    with Socket(shared) as socket:
        socket.batch(f"exists {path}", 1, inserts(1, 1))
        socket.flush("exists")
    answer = shared.get(path)
    assert answer.status == 404, answer
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == (kind, 404)


RAW = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "half a request": b"GET /health HTT",
    "endless headers": b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000,
    "a length that lies": b"POST /cdc HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{",
    "an upgrade without a key": b"GET /lakehouse HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "chunks that are none": b"POST /cdc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("what", RAW)
def test_bytes_that_are_no_request_harm_nobody(shared, what):
    with sockets.create_connection((shared.host, shared.port), timeout=5) as raw:
        try:
            raw.sendall(RAW[what])
            raw.settimeout(1)
            raw.recv(1000)
        except OSError:
            pass
    assert shared.get("/health").status == 200


def test_a_client_that_never_reads_costs_no_memory_and_stops_nobody(serve):
    server = serve(config=ON_DEMAND)
    with Socket(server) as healthy, sockets.create_connection((server.host, server.port)) as deaf:
        deaf.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /lakehouse HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        text = json.dumps({"type": "heartbeat", "timestamp": 1, "sourceDoId": "deaf", "lastAckSequence": 0,
                           "pendingEvents": 0}).encode()
        assert len(text) < 126
        frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
        before = server.memory_mb()
        deaf.settimeout(3)
        try:
            for _ in range(300):
                deaf.sendall(frame * 1000)
        except OSError:
            pass  # closed, or not read any more: both are fine
        healthy.hello("healthy")
        assert healthy.batch("healthy", 1, inserts(1, 10))["status"] == "buffered"
        assert server.memory_mb() < before + 60


def test_no_more_sockets_than_allowed_for_one_source(serve):
    server = serve(config={**ON_DEMAND, "maxConnectionsPerSource": 2})
    with Socket(server) as one, Socket(server) as two, Socket(server) as three:
        one.hello("a")
        two.hello("a")
        three.send(connect_message("a"))
        assert three.expect("nack")["reason"] == "connection_limit"
        assert one.batch("a", 1, inserts(1, 3))["status"] == "buffered"
