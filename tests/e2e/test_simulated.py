"""Lakes that the simulator made, some of them dumped in the middle of its faults, read by engines that share nothing
with it. What must be in each table is what the simulated producers made up and the machine committed.
"""

import json
import pathlib

import pytest
from pyiceberg.table import StaticTable

from ground.engines import rows_of, scan_path
from ground.model import Model, Names
from ground.server import run, simulate

# Seed, profile, and the moment in simulated milliseconds, or the end.
STATES = [(1, "short", 12_000), (3, "short", None), (5, "short", 6_000), (8, "short", 9_000), (9, "short", None),
          (19, "short", 4_000), (23, "short", 15_000), (25, "short", None), (159, "short", 30_000), (34, "short", 15_000),
          (2, "liveness", None), (0, "deep", 60_000)]


@pytest.fixture(params=STATES, ids=lambda state: f"{state[1]}-{state[0]}-{'end' if state[2] is None else state[2]}")
def dumped(request, tmp_path):
    """A dumped lake: its folder, the model of it, and each table's current metadata file."""
    seed, profile, at = request.param
    folder = tmp_path / "dumped"
    moment = [] if at is None else ["--at", at]
    print(simulate("dump", "--seed", seed, "--profile", profile, *moment, "--to", folder))
    model = Model()
    for line in (folder / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        model.accept(row["source"], [row["event"]], row["epoch"])
    tables = json.loads((folder / "tables.json").read_text())
    assert tables and model.tables.keys() == tables.keys(), "a state without tables shows nothing"
    return folder / "lake", model, tables


def test_engines_read_what_the_simulated_producers_sent(dumped):
    _, model, tables = dumped
    for name, metadata in tables.items():
        table = StaticTable.from_metadata(metadata)
        names = Names(table.schema())
        model.check(name, names.rows(rows_of(table.scan().to_arrow())), "PyIceberg")
        model.check(name, names.rows(scan_path(metadata.removeprefix("file://"))), "DuckDB")


def test_a_dumped_lake_is_whole(dumped):
    lake, _, tables = dumped
    done = run("verify", "--store", lake, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    hints = list(pathlib.Path(lake).rglob("version-hint.text"))
    assert len(hints) <= len(tables) and hints, "verify goes by the hints"


def test_a_row_that_was_never_committed_is_seen(dumped):
    _, model, tables = dumped
    name, metadata = sorted(tables.items())[0]
    rows = scan_path(metadata.removeprefix("file://"))
    with pytest.raises(AssertionError, match="events missing"):
        model.check(name, rows[1:])
    with pytest.raises(AssertionError, match="more than once"):
        model.check(name, [*rows, rows[0]])
