#!/usr/bin/env python3
"""The memory promise at length: millions of events through `serve` with default settings and a store that is slow.

Prints resident memory while it runs and fails above the limit. Takes minutes; not a part of the test command.

    .venv/bin/python tests/soak.py [--events 5000000] [--delay 0.5] [--limit-mb 300] [--sources 8]
"""

import argparse
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "e2e"), str(HERE / "bench")]

from generate import messages
from ground import engines
from ground.load import Flood, Pool
from ground.s3 import BUCKET, Server, Weather
from ground.server import Dolake


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--delay", type=float, default=0.5, help="seconds that the store takes for each request")
    parser.add_argument("--limit-mb", type=int, default=300)
    parser.add_argument("--sources", type=int, default=8)
    arguments = parser.parse_args()
    pool = Pool(text for _, _, text in messages(20_000))
    with tempfile.TemporaryDirectory(prefix="dolake-soak-") as folder:
        storage = Server(pathlib.Path(folder) / "s3").start()
        weather = Weather(storage)
        weather.delay_seconds = arguments.delay
        with Dolake(pathlib.Path(folder) / "one", store=f"s3://{BUCKET}/soak", env=weather.env) as server:
            floods = [Flood(server, f"shard-{n}", pool, arguments.events // arguments.sources)
                      for n in range(arguments.sources)]
            for flood in floods:
                flood.start()
            watch(server, floods, arguments)
            peak = server.memory_mb(peak=True)
            sql = "SELECT count(*) n, count(DISTINCT (_cdc_source, _cdc_seq)) d FROM {}"
            counts = [engines.scan_attached(server.url, table, s3=storage, sql=sql)[0]
                      for table in ("users", "orders", "events")]
        weather.stop()
        storage.stop()
    rows, once = sum(count["n"] for count in counts), sum(count["d"] for count in counts)
    wanted = arguments.events // arguments.sources * arguments.sources
    print(f"{rows} rows of {wanted} events, {once} of them different; peak {peak:.0f} MB of {arguments.limit_mb}")
    sys.exit(0 if rows == once == wanted and peak < arguments.limit_mb else 1)


def watch(server, floods, arguments):
    begin = last = time.monotonic()
    while any(flood.is_alive() for flood in floods):
        time.sleep(0.5)
        for flood in floods:
            if flood.failure:
                sys.exit(f"{flood.source}: {flood.failure}\n{server.log()}")
        if time.monotonic() - last > 10:
            last = time.monotonic()
            acked = sum(flood.acked for flood in floods) * 500
            persisted = sum(flood.persisted for flood in floods) * 500
            print(f"{last - begin:5.0f} s  acked {acked:9d}  persisted {persisted:9d}  "
                  f"refusals {sum(flood.refused for flood in floods):5d}  {server.memory_mb():5.0f} MB "
                  f"(peak {server.memory_mb(peak=True):.0f})", flush=True)
            if server.memory_mb(peak=True) > arguments.limit_mb:
                sys.exit(f"{server.memory_mb(peak=True):.0f} MB, more than {arguments.limit_mb}")


if __name__ == "__main__":
    main()
