"""DoLake in real workerd: a process with the Durable Object in it, started, asked, evicted, killed.

Stands in for `ground.server.Dolake` wherever a test needs only its HTTP and WebSocket side. The bucket of the local
runtime is no S3 server; what is in it is copied into one, and engines read it there.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request

from ground.s3 import BUCKET
from ground.server import REPOSITORY, Answer, Dolake, free_port, run

TESTS = REPOSITORY / "tests" / "workers"
NODE = TESTS / "node_modules" / ".bin" / "node"


class Workerd(Dolake):
    """The quick start's worker. Keeps its object's storage and its bucket over restarts."""

    def __init__(self, folder, config=None, key_value=False):
        super().__init__(folder, config={"r2BucketName": BUCKET, **(config or {})})
        self.storage = self.folder / "storage"
        self.control = free_port()
        self.key_value = key_value

    def start(self):
        assert self.process is None, "already running"
        assert NODE.exists(), f"{NODE} is not there; tests/run workers installs it"
        command = [NODE, TESTS / "host.mjs", "--port", self.port, "--control", self.control, "--storage", self.storage,
                   "--config", self.config_file.read_text(), *(["--key-value"] if self.key_value else [])]
        with open(self.log_path, "ab") as log:
            # A session of its own, so that node and the runtime that it started die at one blow.
            self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=log,
                                            start_new_session=True)
        said = self._first_line()
        if "listening on" not in said:
            self.kill()
            raise AssertionError(f"expected 'listening on http://…', got {said!r}\n{self.log()}")
        return self

    def kill(self):
        process, self.process = self.process, None
        if process is None:
            return None
        os.killpg(process.pid, signal.SIGKILL)
        try:
            return process.wait(30)
        finally:
            process.stdout.close()

    def stop(self):
        """Ends the runtime as `wrangler dev` does at a key press."""
        self.act("stop")
        process, self.process = self.process, None
        process.stdout.close()
        return process.wait(30)

    def act(self, action, **parameters):
        url = f"http://127.0.0.1:{self.control}/{action}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=120) as answer:
            return Answer(answer.status, answer.getheaders(), answer.read())

    def evict(self, sockets="close"):
        """Puts the object away once it rests. Its sockets live on (`hibernate`) or are cut (`close`)."""
        self.act("evict", webSockets=sockets)

    def abort(self):
        """Puts the object away in the midst of everything: what is not durable is lost, its sockets are cut."""
        answer = self.get("/lakehouse/abort")
        assert answer.status == 500, answer

    def probe(self):
        """What the object costs and holds at this moment; wakes it."""
        return self.get("/lakehouse/probe").json

    def export(self, storage):
        """Copies the bucket into an S3 server, in place of what was there."""
        bucket = pathlib.Path(storage.folder) / "buckets" / BUCKET
        for old in bucket.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.act("export", to=bucket)

    def verify_in(self, storage):
        """`dolake verify` on the copy in an S3 server."""
        done = run("verify", "--store", f"s3://{BUCKET}", env=storage.env, timeout=300)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
