"""The wire, spoken by hand: raw messages for hostile input, and a producer that resumes for everything else.

Written from the wire contract alone, so that it shares no mistake with DoLake's own producer.
"""

import collections
import contextlib
import itertools
import json
import random
import threading
import time

import websockets
from websockets.sync.client import connect

ANSWER_SECONDS = 20


def connect_message(source, last_ack=0, epoch=None, **more):
    message = {
        "type": "connect", "timestamp": 1_700_000_000_000, "sourceDoId": source, "lastAckSequence": last_ack,
        "protocolVersion": 1,
        "capabilities": {"binaryProtocol": False, "compression": False, "batching": True, "maxBatchSize": 1000,
                         "maxMessageSize": 4194304},
        **more,
    }
    return message | ({} if epoch is None else {"sourceEpoch": epoch})


def batch_message(source, number, events, epoch=None, retry=0, **more):
    message = {
        "type": "cdc_batch", "timestamp": 1_700_000_000_000, "sourceDoId": source, "events": events,
        "sequenceNumber": number, "firstEventSequence": events[0]["sequence"],
        "lastEventSequence": events[-1]["sequence"], "sizeBytes": 100 * len(events), "isRetry": retry > 0,
        "retryCount": retry, **more,
    }
    return message | ({} if epoch is None else {"sourceEpoch": epoch})


def insert(sequence, table="notes", row_id=None, after=None, **more):
    """A small INSERT that says its own number."""
    return {
        "sequence": sequence, "timestamp": 1_700_000_000_000 + sequence, "operation": "INSERT", "table": table,
        "rowId": row_id or f"row-{sequence}", "after": {"n": sequence} if after is None else after, **more,
    }


def inserts(first, last, table="notes"):
    return [insert(sequence, table) for sequence in range(first, last + 1)]


class Socket:
    """One WebSocket with DoLake. Messages are dictionaries; what came is kept in `seen`."""

    def __init__(self, server, path="/lakehouse", headers=None):
        url = server.ws_url.removesuffix("/lakehouse") + path
        self.open = contextlib.ExitStack()
        self.socket = self.open.enter_context(connect(
            url, max_size=None, compression=None, additional_headers=headers or {}, open_timeout=10, close_timeout=2,
            ping_interval=None))
        self.seen = []
        self.unread = collections.deque()

    def send(self, message):
        self.socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def receive(self, seconds=ANSWER_SECONDS):
        """The next message. Raises TimeoutError, or websockets' ConnectionClosed."""
        if self.unread:
            return self.unread.popleft()
        message = json.loads(self.socket.recv(timeout=seconds))
        self.seen.append(message)
        return message

    def expect(self, kind, seconds=ANSWER_SECONDS, **fields):
        """The next message of this kind whose fields are these; what comes before it stays unread for other calls."""
        skipped = []
        end = time.monotonic() + seconds
        try:
            while True:
                try:
                    message = self.receive(max(0.01, end - time.monotonic()))
                except TimeoutError:
                    raise AssertionError(f"no {kind} with {fields} within {seconds} s; came: {skipped}") from None
                if message["type"] == kind and all(message.get(key) == value for key, value in fields.items()):
                    return message
                skipped.append(message)
        finally:
            self.unread.extendleft(reversed(skipped))

    def hello(self, source, last_ack=0, epoch=None, **more):
        """Connects as a source; returns the `ok`."""
        self.send(connect_message(source, last_ack, epoch, **more))
        return self.expect("ack", status="ok")

    def batch(self, source, number, events, epoch=None, **more):
        """Sends a batch and returns its first answer, ack or nack."""
        self.send(batch_message(source, number, events, epoch, **more))
        return self.answer(number)

    def answer(self, number, seconds=ANSWER_SECONDS):
        """The next ack or nack of this number that is no `persisted` mark."""
        skipped = []
        end = time.monotonic() + seconds
        try:
            while True:
                message = self.receive(max(0.01, end - time.monotonic()))
                if message["type"] in ("ack", "nack") and message["sequenceNumber"] == number \
                        and message.get("status") != "persisted":
                    return message
                skipped.append(message)
        except TimeoutError:
            raise AssertionError(f"no answer to batch {number} within {seconds} s; came: {skipped}") from None
        finally:
            self.unread.extendleft(reversed(skipped))

    def flush(self, source):
        self.send({"type": "flush_request", "timestamp": 1, "sourceDoId": source, "reason": "manual",
                   "correlationId": "flush-1"})
        return self.expect("flush_response", seconds=60)

    def persisted(self, number, source=None, seconds=ANSWER_SECONDS):
        """A `persisted` mark that reaches this number."""
        end = time.monotonic() + seconds
        while True:
            mark = self.expect("ack", seconds=max(0.01, end - time.monotonic()), status="persisted")
            if mark["sequenceNumber"] >= number and (source is None or mark.get("sourceDoId", source) == source):
                return mark

    def closed(self, seconds=ANSWER_SECONDS):
        """Reads until the server closes; returns the close code."""
        end = time.monotonic() + seconds
        try:
            while True:
                self.seen.append(json.loads(self.socket.recv(timeout=max(0.01, end - time.monotonic()))))
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self):
        self.open.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Producer(threading.Thread):
    """One source that never gives up: a window of unacked batches, resent with the same numbers after each cut.

    `batches` yields lists of events. `acked` holds the event ranges that were acked in any way, `persisted_through`
    the highest number of a `persisted` mark. Ends when all is acked (`until` = "acked" or "persisted"), or when told.
    """

    def __init__(self, server, source, batches, epoch=None, until="persisted", window=8, pause=0.0, seed=0,
                 patience=20):
        """`patience`: half seconds without a word after which it dials again, while it waits for something. If that is
        no ack but a mark, which may take its time, it asks by heartbeats whether anybody is there."""
        super().__init__(name=f"producer-{source}", daemon=True)
        self.patience = patience
        self.server, self.source, self.epoch, self.until = server, source, epoch, until
        self.window, self.pause = window, pause
        self.chance = random.Random(f"{seed}/{source}")
        self.batches = iter(batches)
        self.unacked = collections.OrderedDict()
        self.acked, self.statuses, self.nacks = {}, collections.Counter(), collections.Counter()
        self.next_number = itertools.count(1)
        self.highest_acked = 0
        self.persisted_through = 0
        self.reconnects = 0
        self.exhausted = False
        self.enough = threading.Event()
        self.held = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self._done():
                try:
                    self._session()
                except (OSError, websockets.WebSocketException, TimeoutError):
                    self.reconnects += 1
                    time.sleep(0.02 + 0.1 * self.chance.random())
        except Exception as failure:  # what a test must see is handed over, not lost with the thread
            self.failure = failure

    def _done(self):
        if not self._is_at_end() or self.unacked:
            return False
        return self.until == "acked" or self.persisted_through >= self.highest_acked

    def _is_at_end(self):
        return self.exhausted or self.enough.is_set()

    def _session(self):
        with connect(self.server.ws_url, max_size=None, compression=None, open_timeout=3, close_timeout=0.2,
                     ping_interval=None) as socket:
            last = min(self.unacked, default=self.highest_acked + 1) - 1
            socket.send(json.dumps(connect_message(self.source, last, self.epoch)))
            for number, events in list(self.unacked.items()):
                self._send(socket, number, events, retry=1)
            quiet = 0
            while not self._done():
                while len(self.unacked) < self.window and self._next(socket):
                    pass
                try:
                    self._take(socket, json.loads(socket.recv(timeout=0.5)))
                    quiet = 0
                except TimeoutError:
                    quiet += 1
                    if quiet == self.patience and (self.unacked or self._is_at_end()):
                        return
                    if self._is_at_end() and not self.unacked:
                        socket.send(json.dumps({"type": "heartbeat", "timestamp": 1, "sourceDoId": self.source,
                                                "lastAckSequence": self.highest_acked, "pendingEvents": 0}))
                if self.pause:
                    time.sleep(self.pause * self.chance.random())

    def _next(self, socket):
        if self._is_at_end() or self.held.is_set():
            return False
        events = next(self.batches, None)
        if events is None:
            self.exhausted = True
            return False
        number = next(self.next_number)
        self.unacked[number] = events
        self._send(socket, number, events)
        return True

    def _send(self, socket, number, events, retry=0):
        socket.send(json.dumps(batch_message(self.source, number, events, self.epoch, retry)))

    def _take(self, socket, message):
        kind, number = message["type"], message.get("sequenceNumber")
        if message.get("sourceDoId", self.source) != self.source:
            return
        if kind == "nack":
            self.nacks[message["reason"]] += 1
            if not message["shouldRetry"]:
                raise AssertionError(f"{self.source}: refused for good: {message}")
            time.sleep(min(message.get("retryDelayMs", 100), 1000) / 1000)
            if number in self.unacked:
                self._send(socket, number, self.unacked[number], retry=1)
        elif kind == "ack":
            self._acked(message, number)

    def _acked(self, message, number):
        status = message["status"]
        self.statuses[status] += 1
        if status == "ok":
            # The resume number: everything up to it was accepted, even if its own ack was lost.
            covered = [unacked for unacked in self.unacked if unacked <= number]
        elif status == "persisted":
            self.persisted_through = max(self.persisted_through, number)
            covered = [unacked for unacked in self.unacked if unacked <= number]
        else:
            covered = range(message.get("firstSequence", number), number + 1)
        for one in covered:
            events = self.unacked.pop(one, None)
            if events is not None:
                self.acked[one] = (events[0]["sequence"], events[-1]["sequence"])
                self.highest_acked = max(self.highest_acked, one)

    def finish(self, seconds=120):
        """Waits until it is done; fails with its own failure."""
        self.join(seconds)
        assert not self.is_alive(), (
            f"{self.source} not done after {seconds} s: {len(self.unacked)} unacked, from {min(self.unacked, default=None)}, "
            f"persisted {self.persisted_through} of {self.highest_acked}, {dict(self.statuses)}, {dict(self.nacks)}")
        if self.failure:
            raise self.failure
        return self
