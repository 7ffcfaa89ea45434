"""A real S3 server on this machine, and weather in front of it.

The server is versitygw where tests/run could build it (it checks signatures), else moto. `Weather` is a proxy that can
answer 503, cut a connection before or after the request was carried out, be slow, or hold everything.
"""

import asyncio
import collections
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import threading
import time

import pyarrow.fs

from ground.server import REPOSITORY, free_port

KEY, SECRET, REGION, BUCKET = "dolake-test", "dolake-test-secret", "us-east-1", "lake"


def gateways():
    return sorted((REPOSITORY / ".venv" / "bin").glob("versitygw-*"))


class S3:
    """An endpoint and how to speak to it."""

    key, secret, region = KEY, SECRET, REGION

    def __init__(self, port):
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    @property
    def env(self):
        """What DoLake needs to know."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION,
                "AWS_ENDPOINT_URL": self.url, "AWS_ENDPOINT": self.url, "AWS_ALLOW_HTTP": "true"}

    def filesystem(self):
        return pyarrow.fs.S3FileSystem(access_key=KEY, secret_key=SECRET, region=REGION, scheme="http",
                                       endpoint_override=self.address, allow_bucket_creation=True)

    def objects(self, prefix=BUCKET):
        selector = pyarrow.fs.FileSelector(prefix, recursive=True, allow_not_found=True)
        return [info.path for info in self.filesystem().get_file_info(selector) if info.is_file]


class Server(S3):
    """The process that keeps the objects, in a folder (versitygw) or in its memory (moto)."""

    def __init__(self, folder):
        super().__init__(free_port())
        self.folder = pathlib.Path(folder)
        (self.folder / "buckets").mkdir(parents=True, exist_ok=True)
        self.process = None

    def start(self):
        with open(self.folder / "s3.log", "ab") as log:
            self.process = subprocess.Popen(self._command(), env={**os.environ, **self._environment()}, stdout=log,
                                            stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, (self.folder / "s3.log").read_text()
                time.sleep(0.05)
        self.filesystem().create_dir(BUCKET)
        return self

    def _command(self):
        if gateways():
            return [gateways()[-1], "--port", f"127.0.0.1:{self.port}", "posix", str(self.folder / "buckets")]
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def _environment(self):
        return {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Weather(S3):
    """A proxy in front of an S3 server. `sky(method, path, chance)` says what befalls a request: one of ACTIONS."""

    ACTIONS = ("fair", "503", "429", "cut before", "cut after", "hold")

    def __init__(self, server, seed=0):
        super().__init__(free_port())
        self.server = server
        self.chance = random.Random(f"{seed}/weather")
        self.sky = lambda method, path, chance: "fair"
        self.delay_seconds = 0.0
        self.counts = collections.Counter()
        self.released = None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.ready = threading.Event()
        self.thread.start()
        assert self.ready.wait(10)

    def fair(self):
        """The weather clears; what was held goes on."""
        self.sky = lambda method, path, chance: "fair"
        self.delay_seconds = 0.0
        self.loop.call_soon_threadsafe(self._release)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def _hang_up(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _release(self):
        self.released.set()
        self.released = asyncio.Event()

    def _run(self):
        asyncio.set_event_loop(self.loop)

        async def serve():
            self.released = asyncio.Event()
            self.listener = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=1 << 20)
            self.ready.set()

        self.loop.create_task(serve())
        self.loop.run_forever()

    async def _connection(self, reader, writer):
        try:
            while await self._request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _request(self, reader, writer):
        """One request and its answer. False ends the connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        method, path = method.decode(), path.decode()
        body = await read_body(reader, head)
        action = self.sky(method, path, self.chance)
        self.counts[action] += 1
        self.counts[method] += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if action == "hold":
            await self.released.wait()
        if action == "cut before":
            return False
        if action in ("503", "429"):
            text = b"<Error><Code>SlowDown</Code><Message>the weather is bad</Message></Error>"
            writer.write(b"HTTP/1.1 %s Bad Weather\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
                         % (action.encode(), len(text)) + (b"" if method == "HEAD" else text))
            await writer.drain()
            return True
        answer = await self._forward(method, head + body)
        if action == "cut after":
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def _forward(self, method, request):
        """Sends it on as it is (signatures stay valid) and returns the whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=1 << 20)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            bodiless = method == "HEAD" or status in (204, 304)
            return head if bodiless else head + await read_body(reader, head)
        finally:
            writer.transport.abort()


async def read_body(reader, head):
    """The body of a message as it stands on the wire, chunk sizes and all."""
    if re.search(rb"\r\ntransfer-encoding:\s*chunked", head, re.IGNORECASE):
        raw = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            raw += line + await reader.readexactly(size + 2)
            if size == 0:
                return raw
    length = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
    return await reader.readexactly(int(length[1])) if length else b""
