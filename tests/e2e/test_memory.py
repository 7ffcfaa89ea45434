"""Memory stays bounded, however much comes and however slow the store is."""

import pathlib
import sys
import time

import pytest

from ground import engines
from ground.load import Flood, Pool
from ground.s3 import BUCKET, Server, Weather
from ground.server import wait_until

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "bench"))
from generate import messages

LIMIT_MB = 300


@pytest.fixture(scope="module")
def pool():
    return Pool(text for _, _, text in messages(10_000))


@pytest.mark.slow
def test_a_store_that_hangs_costs_refusals_and_no_memory(serve, tmp_path, pool, seed):
    """More than the journal may hold comes while nothing can be written; then all of it is written."""
    storage = Server(tmp_path / "s3").start()
    weather = Weather(storage, seed)
    server = serve(store=f"s3://{BUCKET}/memory", env=weather.env, config={"maxRetryDelayMs": 1000})
    weather.sky = lambda method, path, chance: "hold"
    floods = [Flood(server, f"shard-{n}", pool, 180_000) for n in range(4)]
    try:
        for flood in floods:
            flood.start()
        wait_until("a refusal", lambda: any(flood.refused for flood in floods), seconds=120)
        time.sleep(2)
        assert server.memory_mb(peak=True) < LIMIT_MB, "while the store hangs"
        weather.fair()
        for flood in floods:
            flood.join(240)
            assert not flood.is_alive() and flood.failure is None, (flood.failure, flood.acked, flood.persisted)
        assert server.memory_mb(peak=True) < LIMIT_MB, "while it catches up"
        print(f"peak {server.memory_mb(peak=True):.0f} MB, {sum(flood.refused for flood in floods)} refusals")
        counts = {table: engines.scan_attached(
            server.url, table, s3=storage, sql="SELECT count(*) n, count(DISTINCT (_cdc_source, _cdc_seq)) d FROM {}")[0]
            for table in ("users", "orders", "events")}
        assert sum(count["n"] for count in counts.values()) == 4 * 180_000, counts
        assert sum(count["d"] for count in counts.values()) == 4 * 180_000, counts
    finally:
        for flood in floods:
            flood.stopping.set()
        weather.stop()
        server.kill()
        storage.stop()
