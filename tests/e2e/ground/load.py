"""Much input, cheaply: batches cut from a pool of ready rows, so that Python does not slow down what it measures."""

import threading
import time

import json
import websockets
from websockets.sync.client import connect

from ground.wire import connect_message


class Pool:
    """Events whose text is ready but for the number."""

    def __init__(self, messages):
        """`messages`: texts of `cdc_batch` messages."""
        self.tails = []
        for text in messages:
            for event in json.loads(text)["events"]:
                del event["sequence"]
                self.tails.append(json.dumps(event, ensure_ascii=False, separators=(",", ":"))[1:])

    def message(self, source, number, first, count):
        """A batch of `count` events from `first` on, as text."""
        tails, size = self.tails, len(self.tails)
        body = ",".join([f'{{"sequence":{n},{tails[n % size]}' for n in range(first, first + count)])
        return (f'{{"type":"cdc_batch","timestamp":1,"sourceDoId":"{source}","events":[{body}],'
                f'"sequenceNumber":{number},"firstEventSequence":{first},"lastEventSequence":{first + count - 1},'
                f'"sizeBytes":{len(body)},"isRetry":false,"retryCount":0}}')


class Flood(threading.Thread):
    """One source that sends `events` events as fast as they are acked; a refusal with retry is waited out."""

    def __init__(self, server, source, pool, events, batch=500, window=16):
        super().__init__(name=f"flood-{source}", daemon=True)
        self.server, self.source, self.pool = server, source, pool
        self.events, self.batch, self.window = events, batch, window
        self.acked = self.refused = self.persisted = 0
        self.statuses = {}
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        try:
            self._flood()
        except websockets.ConnectionClosed as closed:
            if not self.stopping.is_set():
                self.failure = closed
        except Exception as failure:  # handed over to whoever waits for this thread
            self.failure = failure

    def _flood(self):
        last = -(-self.events // self.batch)
        with connect(self.server.ws_url, max_size=None, compression=None, ping_interval=None) as socket:
            socket.send(json.dumps(connect_message(self.source)))
            sent, open_batches = 0, set()
            while (self.acked < last or self.persisted < last) and not self.stopping.is_set():
                while sent < last and len(open_batches) < self.window:
                    sent += 1
                    open_batches.add(sent)
                    socket.send(self._message(sent))
                try:
                    message = json.loads(socket.recv(timeout=1))
                except TimeoutError:
                    continue
                self._take(socket, message, open_batches)

    def _message(self, number):
        first = (number - 1) * self.batch + 1
        return self.pool.message(self.source, number, first, min(self.batch, self.events - first + 1))

    def _take(self, socket, message, open_batches):
        number = message.get("sequenceNumber")
        if message["type"] == "nack":
            assert message["shouldRetry"], message
            self.refused += 1
            time.sleep(min(message.get("retryDelayMs", 100), 500) / 1000)
            socket.send(self._message(number))
        elif message["type"] == "ack" and message["status"] == "persisted":
            self.persisted = max(self.persisted, number)
        elif message["type"] == "ack" and message["status"] != "ok":
            for one in range(message.get("firstSequence", number), number + 1):
                if one in open_batches:
                    open_batches.discard(one)
                    self.acked += 1
            self.statuses[message["status"]] = self.statuses.get(message["status"], 0) + 1
