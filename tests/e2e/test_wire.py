"""Duplicates, holes, epochs, order and marks, as a producer sees them on the wire (docs: the promises)."""

import pytest

from conftest import HOUR_MS, ON_DEMAND
from ground import engines
from ground.model import Model
from ground.server import wait_until
from ground.wire import Socket, batch_message, connect_message, insert, inserts


def rows(server, table="notes"):
    """Sequences in the lake, by source and epoch, through the bare folder."""
    found = {}
    for row in engines.scan_folder(server, table):
        found.setdefault((row["_cdc_source"], row["_cdc_epoch"] or ""), []).append(row["_cdc_seq"])
    return {source: sorted(sequences) for source, sequences in found.items()}


def metrics(server):
    return server.get("/metrics").body.decode()


def test_a_connect_is_answered_by_ok_and_status(server):
    with Socket(server) as socket:
        ok = socket.hello("a", correlationId="c-1")
        assert ok["sequenceNumber"] == 0 and ok["correlationId"] == "c-1"
        status = socket.expect("status")
        assert status["state"] in ("idle", "receiving") and status["connectedSources"] == 1
        assert status["buffer"]["eventCount"] == 0


def test_a_heartbeat_is_answered_by_pong(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.send({"type": "heartbeat", "timestamp": 77, "sourceDoId": "a", "lastAckSequence": 0, "pendingEvents": 0})
        pong = socket.expect("pong")
        assert pong["timestamp"] == 77 and pong["serverTime"] > 1_600_000_000_000


def test_a_batch_is_acked_as_buffered_with_all_details(server):
    with Socket(server) as socket:
        socket.hello("a")
        ack = socket.batch("a", 1, inserts(1, 10), correlationId="b-1")
        assert (ack["type"], ack["status"], ack["batchId"], ack["correlationId"]) == ("ack", "buffered", "a:1", "b-1")
        assert ack["details"]["eventsProcessed"] == 10
        assert 0 <= ack["details"]["bufferUtilization"] < 1
        assert 0 < ack["details"]["timeUntilFlush"] <= HOUR_MS


def test_a_flush_request_is_answered_when_all_is_committed(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        response = socket.flush("a")
        assert response["correlationId"] == "flush-1" and response["result"]["success"] is True
        assert response["result"]["eventsFlushed"] == 10
        mark = socket.persisted(1)
        assert mark["sequenceNumber"] == 1
        assert rows(server) == {("a", ""): list(range(1, 11))}


def test_a_mark_names_the_snapshot_and_the_path(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        socket.flush("a")
        details = socket.persisted(1)["details"]
    table = engines.pyiceberg_catalog(server.url).load_table("default.notes")
    assert int(details["snapshotId"]) == table.current_snapshot().snapshot_id
    assert "notes" in details["persistedPath"]


def test_acks_leave_in_the_order_in_which_batches_came(server):
    with Socket(server) as socket:
        socket.hello("a")
        for number in range(1, 101):
            socket.send(batch_message("a", number, inserts(number * 10, number * 10 + 9)))
        seen = []
        while not seen or seen[-1] < 100:
            message = socket.expect("ack")
            seen.extend(range(message.get("firstSequence", message["sequenceNumber"]), message["sequenceNumber"] + 1))
        assert seen == list(range(1, 101))


def test_the_same_batch_again_is_a_duplicate_on_any_socket_and_after_a_restart(server):
    with Socket(server) as socket:
        socket.hello("a")
        assert socket.batch("a", 1, inserts(1, 10))["status"] == "buffered"
        assert socket.batch("a", 1, inserts(1, 10), retry=1)["status"] == "duplicate"
        with Socket(server) as other:
            other.hello("a")
            assert other.batch("a", 1, inserts(1, 10))["status"] == "duplicate"
        socket.flush("a")
        assert socket.batch("a", 1, inserts(1, 10))["status"] == "duplicate"
    server.restart()
    with Socket(server) as socket:
        assert socket.hello("a")["sequenceNumber"] == 1
        assert socket.batch("a", 1, inserts(1, 10))["status"] == "duplicate"
        socket.flush("a")
    assert rows(server) == {("a", ""): list(range(1, 11))}


def test_another_content_under_a_known_number_is_refused_and_the_way_out_is_named(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        changed = [*inserts(1, 9), insert(10, after={"n": 11})]
        nack = socket.batch("a", 1, changed)
        assert (nack["type"], nack["reason"], nack["shouldRetry"]) == ("nack", "invalid_sequence", False)
        assert "sourceEpoch" in nack["errorMessage"]
        socket.flush("a")
    assert rows(server) == {("a", ""): list(range(1, 11))}


def test_batches_cut_anew_count_only_what_is_new(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        ack = socket.batch("a", 2, inserts(6, 15))
        assert ack["status"] == "buffered" and ack["details"]["eventsProcessed"] == 5
        socket.flush("a")
    assert rows(server) == {("a", ""): list(range(1, 16))}


def test_numbers_that_do_not_exist_are_no_hole(server):
    """Consecutive batches may jump in event numbers: the numbers between are the producer's own business."""
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        socket.batch("a", 2, inserts(1001, 1010))
        socket.flush("a")
        assert socket.persisted(2)["sequenceNumber"] == 2
    assert rows(server) == {("a", ""): [*range(1, 11), *range(1001, 1011)]}


def test_what_lies_above_a_hole_is_acked_and_waits(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        assert socket.batch("a", 3, inserts(21, 30))["status"] == "buffered"
        socket.flush("a")
        assert socket.persisted(1)["sequenceNumber"] == 1
        assert rows(server) == {("a", ""): list(range(1, 11))}
        with Socket(server) as other:
            assert other.hello("a")["sequenceNumber"] == 1
            assert other.batch("a", 2, inserts(11, 20))["status"] == "buffered"
        socket.flush("a")
        assert socket.persisted(3)["sequenceNumber"] == 3
    assert rows(server) == {("a", ""): list(range(1, 31))}


def test_a_hole_outlives_a_kill(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        socket.batch("a", 3, inserts(21, 30))
    server.restart()
    with Socket(server) as socket:
        assert socket.hello("a")["sequenceNumber"] == 1
        socket.flush("a")
        assert rows(server) == {("a", ""): list(range(1, 11))}
        socket.batch("a", 2, inserts(11, 20))
        socket.flush("a")
    assert rows(server) == {("a", ""): list(range(1, 31))}


def test_a_hole_that_times_out_is_closed_named_and_never_filled(serve):
    server = serve(config={**ON_DEMAND, "deduplicationWindowMs": 1500})
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        socket.batch("a", 4, inserts(31, 40))
        wait_until("the hole to time out", lambda: "dolake_sequence_holes_closed_total 1" in metrics(server))
        socket.flush("a")
        nack = socket.expect("nack", reason="invalid_sequence")
        assert (nack["sequenceNumber"], nack["throughSequence"], nack["shouldRetry"]) == (2, 3, False)
        assert socket.persisted(4)["sequenceNumber"] == 4
        kinds = [message["type"] for message in socket.seen if message.get("status") in (None, "persisted")]
        assert kinds.index("nack") < kinds.index("ack"), "the hole is named before a mark passes it"
        late = socket.batch("a", 2, inserts(11, 20))
        assert (late["type"], late["reason"], late["shouldRetry"]) == ("nack", "invalid_sequence", False)
        socket.flush("a")
    assert rows(server) == {("a", ""): [*range(1, 11), *range(31, 41)]}


def test_waiting_behind_a_hole_has_a_limit_and_others_do_not_notice(serve):
    server = serve(config={**ON_DEMAND, "maxHoleBytes": 4000})
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        refused = None
        for number in range(3, 12):
            answer = socket.batch("a", number, inserts(number * 10, number * 10 + 9))
            if answer["type"] == "nack":
                refused = answer
                break
        assert refused, "nothing was refused behind the hole"
        assert (refused["reason"], refused["shouldRetry"]) == ("invalid_sequence", True)
        assert "2" in refused["errorMessage"]
        assert socket.batch("b", 1, inserts(1, 500))["status"] == "buffered"


def test_a_new_epoch_starts_over_and_fences_the_old_one(server):
    with Socket(server) as socket:
        socket.hello("a", epoch="one")
        socket.batch("a", 1, inserts(1, 10), epoch="one")
        assert socket.hello("a", epoch="two")["sequenceNumber"] == 0
        assert socket.batch("a", 1, inserts(1, 5), epoch="two")["status"] == "buffered"
        assert socket.batch("a", 1, inserts(1, 10), epoch="one")["status"] == "duplicate"
        nack = socket.batch("a", 2, inserts(11, 20), epoch="one")
        assert (nack["type"], nack["shouldRetry"]) == ("nack", False)
        socket.flush("a")
    assert rows(server) == {("a", "one"): list(range(1, 11)), ("a", "two"): list(range(1, 6))}


def test_every_open_socket_of_a_source_gets_the_mark(server):
    with Socket(server) as one, Socket(server) as two:
        one.hello("a")
        two.hello("a")
        one.batch("a", 1, inserts(1, 10))
        two.batch("a", 2, inserts(11, 20))
        one.flush("a")
        assert one.persisted(2)["sequenceNumber"] == 2
        assert two.persisted(2)["sequenceNumber"] == 2


def test_a_returning_producer_is_told_where_to_go_on_and_what_is_persisted(server):
    with Socket(server) as socket:
        socket.hello("a")
        for number in range(1, 6):
            socket.batch("a", number, inserts(number * 10, number * 10 + 9))
        socket.flush("a")
        socket.batch("a", 6, inserts(60, 69))
    with Socket(server) as socket:
        assert socket.hello("a", last_ack=3)["sequenceNumber"] == 6
        assert socket.persisted(5)["sequenceNumber"] == 5


def test_a_producer_that_claims_more_than_is_known_is_told_and_served(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
    with Socket(server) as socket:
        ok = socket.hello("a", last_ack=9)
        assert ok["sequenceNumber"] == 1
        assert socket.expect("status")["state"] == "recovering"
        assert socket.batch("a", 2, inserts(11, 20))["status"] == "buffered"


def test_the_base_of_an_epoch_is_what_its_first_connection_said(server):
    """Batch base + 1 has no hole below it."""
    with Socket(server) as socket:
        socket.hello("a", last_ack=41)
        assert socket.batch("a", 42, inserts(900, 909))["status"] == "buffered"
        socket.flush("a")
        assert socket.persisted(42)["sequenceNumber"] == 42
    assert rows(server) == {("a", ""): list(range(900, 910))}


def test_a_sparse_producer_has_no_holes(server):
    with Socket(server) as socket:
        hello = connect_message("a")
        hello["capabilities"]["sparse"] = True
        socket.send(hello)
        socket.expect("ack", status="ok")
        for number in (10, 25, 400):
            assert socket.batch("a", number, inserts(number * 100, number * 100 + 4))["status"] == "buffered"
        socket.flush("a")
        assert socket.persisted(400)["sequenceNumber"] == 400
    assert len(rows(server)["a", ""]) == 15


def test_without_deduplication_every_arrival_is_applied(serve):
    server = serve(config={**ON_DEMAND, "enableDeduplication": False})
    with Socket(server) as socket:
        socket.hello("a")
        for _ in range(3):
            assert socket.batch("a", 1, inserts(1, 4))["status"] == "buffered"
        socket.flush("a")
    assert rows(server) == {("a", ""): [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]}


def test_one_connection_may_carry_another_source(server):
    with Socket(server) as socket:
        socket.hello("a")
        ack = socket.batch("b", 1, inserts(1, 3))
        assert ack["status"] == "buffered" and ack["batchId"] == "b:1"
        socket.flush("a")
    assert rows(server) == {("b", ""): [1, 2, 3]}


def test_a_source_needs_no_connect_at_all(server):
    with Socket(server) as socket:
        assert socket.batch("a", 1, inserts(1, 3))["status"] == "buffered"


def test_events_of_several_tables_in_one_batch_go_to_their_tables(server):
    events = [insert(n, ("users", "orders", "shop.carts")[n % 3]) for n in range(1, 31)]
    model = Model().accept("a", events)
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, events)
        socket.flush("a")
    model.check("users", engines.scan_pyiceberg(server.url, "users"))
    model.check("orders", engines.scan_pyiceberg(server.url, "orders"))
    model.check("shop.carts", engines.scan_pyiceberg(server.url, "carts", "shop"))


def test_events_over_http_need_no_socket(server):
    body = {"events": inserts(1, 10), "sequenceNumber": 1}
    answer = server.post("/cdc", body, headers={"X-Client-ID": "h"})
    assert answer.status == 200, answer
    assert (answer.json["success"], answer.json["eventsReceived"], answer.json["eventsAccepted"]) == (True, 10, 10)
    again = server.post("/cdc", body, headers={"X-Client-ID": "h"})
    assert again.status == 200 and again.json["duplicates"] == 10, again
    server.flush()
    assert rows(server) == {("h", ""): list(range(1, 11))}


def test_a_disconnect_is_a_polite_end(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.send({"type": "disconnect", "timestamp": 1, "sourceDoId": "a", "reason": "done"})
        assert socket.closed() == 1000
    wait_until("no source connected", lambda: server.status()["buffer"] is not None)


def test_flushes_come_by_count_by_age_and_by_interval(serve):
    by_count = serve("count", config={**ON_DEMAND, "flushThresholdEvents": 100})
    by_age = serve("age", config={**ON_DEMAND, "flushThresholdMs": 700})
    by_interval = serve("interval", config={**ON_DEMAND, "flushIntervalMs": 700})
    for server in (by_count, by_age, by_interval):
        with Socket(server) as socket:
            socket.hello("a")
            socket.batch("a", 1, inserts(1, 100))
            assert socket.persisted(1, seconds=15)["sequenceNumber"] == 1


def test_status_counts_what_happened(server):
    with Socket(server) as socket:
        socket.hello("a")
        socket.batch("a", 1, inserts(1, 10))
        socket.batch("a", 1, inserts(1, 10))
        status = server.status()
        assert status["buffer"]["eventCount"] == 10 and status["buffer"]["batchCount"] == 1
        assert status["dedupStats"]["duplicatesFound"] == 1
        source, = [state for state in status["sourceStates"] if state["id"] == "a"]
        assert source["connections"] == 1 and source["lastReceivedSequence"] == 1
        socket.flush("a")
        status = server.status()
        table, = [entry for entry in status["tables"] if entry["name"].endswith("notes")]
        assert table["rows"] == 10 and table["mode"] == "changelog"
        assert status["buffer"]["eventCount"] == 0


@pytest.mark.parametrize("path", ["/lakehouse", "/"])
def test_sockets_are_taken_at_the_root_and_below_the_mount(server, path):
    with Socket(server, path) as socket:
        assert socket.hello("a")["status"] == "ok"


def test_a_connection_is_told_the_marks_of_its_own_epoch_and_of_those_that_move(server):
    """Not those of all epochs that the source ever had: it may have had thousands."""
    for epoch in ("e1", "e2"):
        with Socket(server) as socket:
            socket.hello("a", epoch=epoch)
            socket.batch("a", 1, inserts(1, 10), epoch=epoch)
            socket.flush("a")
            socket.persisted(1)
    with Socket(server) as socket:
        socket.hello("a", epoch="e3")
        socket.batch("a", 1, inserts(1, 10), epoch="e3")
        socket.flush("a")
        socket.persisted(1)
        marks = [message["sourceEpoch"] for message in socket.seen if message.get("status") == "persisted"]
    assert marks == ["e3"]


def test_a_connection_speaks_for_one_source(server):
    with Socket(server) as socket:
        socket.hello("a", epoch="e1")
        socket.send(connect_message("b", epoch="e1"))
        nack = socket.expect("nack", reason="invalid_format")
        assert nack["errorMessage"] == (
            'sourceDoId: expected "a", for which this connection said `connect` before, got "b": open a connection for '
            "each source")
        assert not nack["shouldRetry"]
        # It is a's as before, and may bring what names its own source.
        assert socket.batch("a", 1, inserts(1, 10))["sourceEpoch"] == "e1"
        assert socket.batch("b", 1, inserts(1, 10), epoch="e1")["status"] == "buffered"
        socket.hello("a", epoch="e2")


def test_the_nack_of_what_cannot_be_read_names_the_epoch_of_its_connection(server):
    with Socket(server) as socket:
        socket.hello("a", epoch="one")
        broken = batch_message("a", 1, inserts(1, 3))
        broken["events"][1]["operation"] = "MERGE"
        socket.send(broken)
        nack = socket.answer(1)
        assert (nack["reason"], nack["sourceDoId"], nack["sourceEpoch"]) == ("invalid_format", "a", "one")


def test_a_sparse_batch_that_was_malformed_and_passed_over_is_refused(server):
    sparse = {"capabilities": {"binaryProtocol": False, "compression": False, "batching": True, "sparse": True,
                               "maxBatchSize": 1000, "maxMessageSize": 4194304}}
    with Socket(server) as socket:
        socket.hello("a", epoch="e1", **sparse)
        assert socket.batch("a", 10, inserts(101, 110))["status"] == "buffered"
        broken = batch_message("a", 20, inserts(201, 203))
        broken["events"][1]["operation"] = "MERGE"
        socket.send(broken)
        assert socket.answer(20)["reason"] == "invalid_format"
        assert socket.batch("a", 30, inserts(301, 310))["status"] == "buffered"
        repaired = socket.batch("a", 20, inserts(201, 203))
        assert (repaired["reason"], repaired["shouldRetry"]) == ("invalid_sequence", False)
        assert socket.batch("a", 40, inserts(401, 403))["status"] == "buffered"


def test_a_sparse_post_that_was_malformed_and_passed_over_is_refused(server):
    def post(events):
        return server.post("/cdc", {"events": events}, headers={"X-Client-ID": "a"})

    assert post(inserts(101, 110)).status == 200
    assert post([{**insert(201), "operation": "MERGE"}]).status == 400
    assert post(inserts(301, 310)).status == 200
    assert post(inserts(201, 203)).status == 409


ZERO_ALONE = "lastEventSequence: expected at least 1, got 0: number events from 1, or send event 0 with those after it"


def test_event_0_comes_with_others(server):
    with Socket(server) as socket:
        socket.hello("a")
        nack = socket.batch("a", 1, [insert(0)])
        assert (nack["reason"], nack["errorMessage"], nack["shouldRetry"]) == ("invalid_format", ZERO_ALONE, False)
        assert socket.batch("a", 1, [insert(0), insert(1)])["status"] == "buffered"
    answer = server.post("/cdc", {"events": [insert(0)]}, headers={"X-Client-ID": "b"})
    assert (answer.status, answer.json["error"]["message"]) == (400, ZERO_ALONE)


def test_a_source_that_only_repeats_itself_leaves_memory(server):
    def post():
        return server.post("/cdc", {"events": inserts(1, 10), "sequenceNumber": 1, "sourceEpoch": "e"},
                           headers={"X-Client-ID": "a"}).json

    assert post()["eventsAccepted"] == 10
    assert [source["id"] for source in server.status()["sourceStates"]] == ["a"]
    server.flush()
    assert server.status()["sourceStates"] == []
    assert post()["duplicates"] == 10
    assert server.status()["sourceStates"] == []
