"""Fixtures: a server in a folder of its own, and the numbers that a run can be given."""

import json
import random

import pytest

from ground.s3 import Server
from ground.server import BINARY, REPOSITORY, Dolake


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=50, help="how often the server is killed (default 50)")
    parser.addoption("--evictions", type=int, default=60, help="how often a Durable Object is put away (default 60)")
    parser.addoption("--workerd-kills", type=int, default=10, help="how often workerd is killed (default 10)")
    parser.addoption("--seed", type=int, default=None, help="repeats a run that drew its chances from this number")


def pytest_report_header(config):
    return f"binary: {BINARY.relative_to(REPOSITORY) if BINARY.is_relative_to(REPOSITORY) else BINARY}"


def pytest_sessionstart(session):
    if not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is not there; tests/run builds it")


@pytest.fixture
def seed(request):
    """A number that all of a test's chance comes from; it is printed when the test fails."""
    given = request.config.getoption("--seed")
    number = random.SystemRandom().randrange(1 << 32) if given is None else given
    print(f"repeat with --seed {number}")
    return number


@pytest.fixture
def kills(request):
    return request.config.getoption("--kills")


@pytest.fixture
def evictions(request):
    return request.config.getoption("--evictions")


@pytest.fixture
def workerd_kills(request):
    return request.config.getoption("--workerd-kills")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """An S3 server for the tests of a file."""
    server = Server(tmp_path_factory.mktemp("s3")).start()
    yield server
    server.stop()


@pytest.fixture
def serve(tmp_path):
    """Starts servers: serve(config…, name=…). All of them are gone when the test ends."""
    running = []

    def start(name="one", config=None, **more):
        server = Dolake(tmp_path / name, config=config, **more)
        running.append(server)
        return server.start()

    yield start
    for server in running:
        server.kill()


@pytest.fixture
def server(serve):
    """A server that flushes only when it is told to (or after an hour)."""
    return serve(config=ON_DEMAND)


HOUR_MS = 3_600_000
ON_DEMAND = {"flushThresholdEvents": 1_000_000, "flushThresholdMs": HOUR_MS, "flushIntervalMs": HOUR_MS}


@pytest.fixture(scope="session")
def flights():
    """Events of the demo's four shards: {source: [event, …]}."""
    found = {}
    for path in sorted((REPOSITORY / "io" / "demo").glob("shard-*.ndjson")):
        with open(path, encoding="utf-8") as lines:
            found[path.stem] = [json.loads(line) for line in lines]
    assert len(found) == 4, "io/demo holds four shards"
    return found
