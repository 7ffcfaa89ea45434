#!/usr/bin/env python3
"""What `dolake serve` costs, with everything on, beside its peers on the same machine in the same run.

Counted is the CPU time of the serve process alone (its producers are other processes' work): validation, deduplication,
journal with fsync, acks, Parquet, Iceberg commits at the default settings, until everything is persisted. Absolute
figures belong to one machine on one day; compare ratios.

    .venv/bin/python tests/bench/run.py [throughput] [linear] [commits] [latency] [fan-in]     default: all but linear
        --events 1000000    for throughput; `linear` takes ten times as many as well
        --json FILE         the figures, for a later comparison
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE)]

from websockets.sync.client import connect

from generate import messages
from ground.load import Pool
from ground.server import REPOSITORY, Dolake
from ground.wire import connect_message

WINDOW = 32
HOUR_MS = 3_600_000
PARTS = ("throughput", "linear", "commits", "latency", "fan-in")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of throughput; the median counts")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    wrong = set(arguments.parts) - set(PARTS)
    if wrong:
        parser.error(f"no such part: {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    parts = arguments.parts or [part for part in PARTS if part != "linear"]
    figures = {"machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
               "date": time.strftime("%Y-%m-%d")}
    table = Table()
    if "throughput" in parts:
        figures["throughput"] = throughput(table, arguments.events, arguments.rounds)
    if "linear" in parts:
        figures["linear"] = linear(table, arguments.events)
    if "commits" in parts:
        figures["commits"] = commits(table)
    if "latency" in parts:
        figures["latency"] = latency(table)
    if "fan-in" in parts:
        figures["fan-in"] = fan_in(table)
    table.show()
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(0 if table.all_hold else 1)


class Table:
    """What was measured, and whether it is what was promised."""

    def __init__(self):
        self.rows = []

    @property
    def all_hold(self):
        return all(holds is not False for *_, holds in self.rows)

    def add(self, what, figure, promise="", holds=None):
        self.rows.append((what, figure, promise, holds))
        print(f"  {what}: {figure}", file=sys.stderr, flush=True)

    def show(self):
        wide = [max(len(row[column]) for row in self.rows) for column in range(3)]
        print()
        for what, figure, promise, holds in self.rows:
            mark = {True: "holds", False: "MISSED", None: ""}[holds]
            print(f"{what:<{wide[0]}}  {figure:>{wide[1]}}  {promise:<{wide[2]}}  {mark}".rstrip())


def input_file(events):
    """The messages, made once and kept beside the build."""
    path = REPOSITORY / "target" / "bench" / f"events-{events}.ndjson"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".tmp"), "w", encoding="utf-8", newline="\n") as out:
            out.writelines(text + "\n" for _, _, text in messages(events))
        path.with_suffix(".tmp").rename(path)
    return path


def send_file(server, path):
    """Sends all messages over one socket with a window, as a producer that obeys. Returns the number of events."""
    waiting, events = {}, 0
    with connect(server.ws_url, max_size=None, compression=None, ping_interval=None) as socket, open(path, "rb") as lines:
        socket.send(json.dumps(connect_message("bench")))
        for line in lines:
            head, tail = line[:200], line[-160:]
            source = re.search(rb'"sourceDoId":"([^"]*)"', head)[1].decode()
            number, first, last = map(int, re.search(
                rb'"sequenceNumber":(\d+),"firstEventSequence":(\d+),"lastEventSequence":(\d+)', tail).groups())
            waiting[source, number] = line[:-1].decode()
            socket.send(waiting[source, number])
            events += last - first + 1
            while len(waiting) >= WINDOW:
                take(socket, waiting)
        while waiting:
            take(socket, waiting)
    return events


def take(socket, waiting):
    """One message: takes what it acks out of `waiting`, which holds texts by source and number."""
    message = json.loads(socket.recv(timeout=60))
    if message["type"] == "nack":
        if not message["shouldRetry"]:
            raise SystemExit(f"refused: {message}")
        time.sleep(message["retryDelayMs"] / 1000)
        socket.send(waiting[message["sourceDoId"], message["sequenceNumber"]])
    elif message["type"] == "ack" and message["status"] not in ("ok", "persisted"):
        number = message["sequenceNumber"]
        for one in range(message.get("firstSequence", number), number + 1):
            waiting.pop((message["sourceDoId"], one), None)
        time.sleep(message["details"].get("suggestedDelayMs", 0) / 1000)
    return message


def serve_file(path, config=None):
    """One whole run: (events, CPU seconds, wall seconds, peak MB)."""
    with tempfile.TemporaryDirectory(prefix="dolake-bench-") as folder:
        with Dolake(folder, config=config, env={"RUST_LOG": "warn"}) as server:
            cpu, wall = server.cpu_seconds(), time.perf_counter()
            events = send_file(server, path)
            server.flush()
            return {"events": events, "cpu_seconds": server.cpu_seconds() - cpu,
                    "wall_seconds": time.perf_counter() - wall, "peak_mb": server.memory_mb(peak=True)}


def duckdb_peer(path):
    with tempfile.TemporaryDirectory(prefix="dolake-bench-") as folder:
        done = subprocess.run([sys.executable, HERE / "duckdb_peer.py", path, folder, "1"], check=True, text=True,
                              capture_output=True)
        return json.loads(done.stdout)


def throughput(table, events, rounds):
    path = input_file(events)
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(serve_file(path))
        peer.append(duckdb_peer(path))
    rate = statistics.median(run["events"] / run["cpu_seconds"] for run in ours)
    peer_rate = statistics.median(events / run["cpu_seconds"] for run in peer)
    peak = max(run["peak_mb"] for run in ours)
    table.add(f"serve, {events:,} events: events per CPU second", f"{rate:,.0f}", "at least 130,000", rate >= 130_000)
    table.add("DuckDB read_json to Parquet, one thread: the same", f"{peer_rate:,.0f}", "below ours", peer_rate < rate)
    table.add("ours : DuckDB", f"{rate / peer_rate:.2f}")
    table.add("serve: wall clock, events per second",
              f"{statistics.median(run['events'] / run['wall_seconds'] for run in ours):,.0f}")
    table.add("serve: peak resident memory, MB", f"{peak:.0f}", "at most 150", peak <= 150)
    table.add("DuckDB: peak resident memory, MB", f"{max(run['peak_mb'] for run in peer):.0f}")
    return {"serve": ours, "duckdb": peer}


def linear(table, events):
    small, large = serve_file(input_file(events)), serve_file(input_file(events * 10))
    ratio = large["cpu_seconds"] / small["cpu_seconds"]
    table.add("ten times the events: CPU", f"{ratio:.2f}x", "at most 10.5x", ratio <= 10.5)
    table.add("ten times the events: peak resident memory, MB", f"{large['peak_mb']:.0f}")
    return {"small": small, "large": large}


class OneSource:
    """One source on one socket that waits for each ack."""

    def __init__(self, server, source="one", pool=None):
        self.pool = pool
        self.source = source
        self.number = self.next_event = 1
        self.persisted = 0
        self.open = contextlib.ExitStack()
        self.socket = self.open.enter_context(
            connect(server.ws_url, max_size=None, compression=None, ping_interval=None))
        self.socket.send(json.dumps(connect_message(source)))

    def batch(self, events):
        """Sends one batch and returns the seconds until its ack."""
        text = self.pool.message(self.source, self.number, self.next_event, events)
        waiting = {(self.source, self.number): text}
        self.number += 1
        self.next_event += events
        begin = time.perf_counter()
        self.socket.send(text)
        while waiting:
            self._take(waiting)
        return time.perf_counter() - begin

    def committed(self):
        """Waits until everything that was sent is in a snapshot."""
        while self.persisted < self.number - 1:
            self._take({})

    def _take(self, waiting):
        message = take(self.socket, waiting)
        if message.get("status") == "persisted":
            self.persisted = message["sequenceNumber"]


def commits(table):
    """CPU of a whole flush of 10,000 events over three tables, early and after 1,000 commits of each table."""
    pool = Pool(text for _, _, text in messages(20_000))
    with tempfile.TemporaryDirectory(prefix="dolake-bench-") as folder:
        config = {"flushThresholdEvents": 10_000_000, "flushIntervalMs": HOUR_MS, "flushThresholdMs": HOUR_MS}
        with Dolake(folder, config=config, env={"RUST_LOG": "warn"}) as server:
            source = OneSource(server, pool=pool)
            early = flush_cost(server, source, 10)
            # Small commits on the way, made by a threshold: an answer to /flush waits for the hints of readers by path.
            set_config(server, flushThresholdEvents=30)
            for _ in range(1000 - 30):
                source.batch(30)
                source.committed()
            set_config(server, flushThresholdEvents=10_000_000)
            late = flush_cost(server, source, 10)
    ratio = late / early
    table.add("flush of 10,000 events: CPU at commits 5 to 15, ms", f"{early * 1000:.1f}")
    table.add("flush of 10,000 events: CPU at commits 985 to 995, ms", f"{late * 1000:.1f}")
    table.add("a flush at commit 1,000 : at commit 10", f"{ratio:.2f}x", "at most 1.3x", ratio <= 1.3)
    return {"early_seconds": early, "late_seconds": late}


def set_config(server, **settings):
    answer = server.request("PATCH", "/v1/config", settings)
    if answer.status != 200:
        raise SystemExit(f"settings refused: {answer}")


def flush_cost(server, source, times):
    """Mean CPU seconds of a flush; a few go before, unmeasured."""
    costs = 0.0
    for turn in range(times + 5):
        for _ in range(20):
            source.batch(500)
        before = server.cpu_seconds()
        server.flush()
        if turn >= 5:
            costs += server.cpu_seconds() - before
    return costs / times


def fsync_seconds(folder, size, times=200):
    """Median of appending `size` bytes and making them durable, on the disk of this folder."""
    data, waits = os.urandom(size), []
    with open(pathlib.Path(folder) / "fsync-probe", "wb", buffering=0) as probe:
        for _ in range(times):
            begin = time.perf_counter()
            probe.write(data)
            os.fsync(probe.fileno())
            waits.append(time.perf_counter() - begin)
    os.unlink(pathlib.Path(folder) / "fsync-probe")
    return statistics.median(waits)


def latency(table):
    """A durable ack of one batch of 500 events (190 KB) against one fsync of as many bytes, measured in turns."""
    pool = Pool(text for _, _, text in messages(20_000))
    acks, syncs = [], []
    with tempfile.TemporaryDirectory(prefix="dolake-bench-") as folder:
        config = {"flushThresholdEvents": 10_000_000, "flushIntervalMs": HOUR_MS, "flushThresholdMs": HOUR_MS}
        with Dolake(folder, config=config, env={"RUST_LOG": "warn"}) as server:
            source = OneSource(server, pool=pool)
            size = len(pool.message("one", 1, 1, 500).encode())
            for _ in range(10):
                syncs.append(fsync_seconds(folder, size, 20))
                acks.extend(source.batch(500) for _ in range(20))
    p50, sync = statistics.median(acks[20:]), statistics.median(syncs)
    table.add(f"one fsync of {size // 1000} KB, p50, ms", f"{sync * 1000:.2f}")
    table.add("a durable ack of that batch, p50, ms", f"{p50 * 1000:.2f}")
    table.add("ack : fsync", f"{p50 / sync:.2f}x", "at most 2x", p50 <= 2 * sync)
    return {"ack_p50_seconds": p50, "fsync_p50_seconds": sync}


def fan_in(table, producers=64, batches=20):
    """Batches of 64 producers that share an fsync of the journal, counted by strace, which traps nothing else."""
    if not shutil.which("strace"):
        table.add(f"{producers} producers: batches acked for each fsync", "strace is not installed")
        return None
    pool = Pool(text for _, _, text in messages(20_000))
    with tempfile.TemporaryDirectory(prefix="dolake-bench-") as folder:
        trace = pathlib.Path(folder) / "trace"
        under = ["strace", "-D", "-f", "--seccomp-bpf", "-y", "-e", "trace=fsync,fdatasync", "-o", trace]
        config = {"flushThresholdEvents": 10_000_000, "flushIntervalMs": HOUR_MS, "flushThresholdMs": HOUR_MS}
        with Dolake(folder, config=config, env={"RUST_LOG": "warn"}, under=under) as server:
            sources = [OneSource(server, f"shard-{n}", pool) for n in range(producers)]
            before, begin = journal_syncs(trace), time.perf_counter()
            threads = [threading.Thread(target=lambda s=source: [s.batch(50) for _ in range(batches)]) for source in sources]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds, syncs = time.perf_counter() - begin, journal_syncs(trace) - before
    shared = producers * batches / max(1, syncs)
    table.add(f"{producers} producers: batches acked for each fsync", f"{shared:.1f}", "at least 5", shared >= 5)
    table.add(f"{producers} producers: durable acks per second", f"{producers * batches / seconds:,.0f}")
    return {"batches": producers * batches, "fsyncs": syncs, "seconds": seconds}


def journal_syncs(trace):
    return sum(1 for line in trace.read_text().splitlines() if "sync(" in line and "journal.db" in line)


if __name__ == "__main__":
    main()
