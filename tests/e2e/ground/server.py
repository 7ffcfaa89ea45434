"""The real binary: started, asked, stopped, killed."""

import json
import os
import pathlib
import random
import re
import selectors
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("DOLAKE_BIN", REPOSITORY / "target" / "release" / "dolake"))
SIMULATOR = BINARY.parent / "dolake-sim"
START_SECONDS = 30
STOP_SECONDS = 60


def free_port():
    """A port that nobody has now, and that no connection to elsewhere gets while a server is down between two lives."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def run(*arguments, env=None, timeout=120, input=None):
    """One command of the binary to its end. Returns subprocess.CompletedProcess with text output."""
    return subprocess.run(
        [BINARY, *map(str, arguments)], env={**os.environ, **(env or {})}, timeout=timeout, text=True, input=input,
        capture_output=True,
    )


def simulate(*arguments, timeout=120):
    """One command of the simulator to its end; gives its output, fails with it."""
    done = subprocess.run([SIMULATOR, *map(str, arguments)], timeout=timeout, text=True, capture_output=True)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Answer:
    """An HTTP answer: status, headers (names in lower case), body, and the body as JSON."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


class Dolake:
    """`dolake serve` on a port of its own. Keeps its folder over restarts."""

    def __init__(self, folder, config=None, store=None, env=None, listen_host="127.0.0.1", under=()):
        """`under`: a command that runs the binary as its own arguments say, such as a tracer."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = str(store or self.folder / "lake")
        self.journal = self.folder / "journal.db"
        self.config_file = self.folder / "config.json"
        self.config_file.write_text(json.dumps(config or {}))
        self.env = {**os.environ, "RUST_LOG": "info", **(env or {})}
        self.under = list(under)
        self.port = free_port()
        self.host = listen_host
        self.log_path = self.folder / "serve.log"
        self.process = None

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self):
        return f"ws://{self.host}:{self.port}/lakehouse"

    @property
    def arguments(self):
        return ["serve", "--listen", f"{self.host}:{self.port}", "--store", self.store,
                "--journal", str(self.journal), "--config", str(self.config_file)]

    def start(self):
        """Starts it and waits for its word that it listens."""
        assert self.process is None, "already running"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.under, BINARY, *self.arguments], env=self.env, stdout=subprocess.PIPE, stderr=log)
        said = self._first_line()
        match = re.search(r"listening on (http://\S+)", said)
        if not match:
            status = self.kill()
            raise AssertionError(f"expected 'listening on http://…', got {said!r}, exit {status}\n{self.log()}")
        return self

    def _first_line(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            return self.process.stdout.readline().decode() if ready.select(START_SECONDS) else ""

    def log(self, characters=4000):
        return self.log_path.read_text(errors="replace")[-characters:]

    def kill(self):
        """kill -9: nothing is said, nothing is written any more."""
        return self._end(signal.SIGKILL)

    def stop(self):
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how):
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"still running {STOP_SECONDS} s after {how.name}\n{self.log()}") from None
        finally:
            process.stdout.close()

    def restart(self):
        self.kill()
        return self.start()

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, *_):
        self.kill()

    def request(self, method, path, body=None, headers=None, timeout=60):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.getheaders(), answer.read())
        except urllib.error.HTTPError as answer:
            return Answer(answer.code, answer.headers.items(), answer.read())

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, b"" if body is None else body, **more)

    def status(self):
        answer = self.get("/status")
        assert answer.status == 200, answer
        return answer.json

    def flush(self):
        """Everything that can be committed is committed when this returns."""
        answer = self.post("/flush", timeout=120)
        assert answer.status == 200 and answer.json["success"], answer
        return answer.json

    def memory_mb(self, peak=False):
        """Resident memory in MB, now or at its peak."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", text)[1]) / 1024

    def cpu_seconds(self):
        """User and system time of the process so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def verify(self):
        """`dolake verify` on the store while nothing serves it. Returns its output, fails with it."""
        assert self.process is None, "stop the server first"
        done = run("verify", "--store", self.store, "--journal", self.journal, env=self.env, timeout=300)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def wait_until(what, check, seconds=30):
    """Polls until `check()` is true; its last value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.05)
