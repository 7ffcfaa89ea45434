#!/usr/bin/env python3
"""The peer: DuckDB turns the same messages into one snappy Parquet file a table, each event once.

No journal, no acks, no commits, no network, types given beforehand: a floor for what has all of these to do.

    duckdb_peer.py FILE OUT [THREADS]      prints JSON: events, rows, cpu_seconds, wall_seconds, peak_mb
"""

import json
import os
import pathlib
import resource
import sys
import time

import duckdb

IMAGE = ("STRUCT(id VARCHAR, name VARCHAR, email VARCHAR, created_at VARCHAR, amount DOUBLE, qty BIGINT, "
         "tags VARCHAR[], address STRUCT(city VARCHAR, zip VARCHAR))")
EVENT = (f'STRUCT("sequence" BIGINT, "timestamp" BIGINT, operation VARCHAR, "table" VARCHAR, "rowId" VARCHAR, '
         f'"before" {IMAGE}, "after" {IMAGE})')
TABLES = ("users", "orders", "events")


def main():
    source, out = sys.argv[1], pathlib.Path(sys.argv[2])
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    out.mkdir(parents=True, exist_ok=True)
    wall, cpu = time.perf_counter(), time.process_time()
    db = duckdb.connect()
    db.execute(f"SET threads = {threads}")
    db.execute("SET preserve_insertion_order = false")
    read = (f"read_json('{source}', format = 'newline_delimited', maximum_object_size = 33554432, "
            f"columns = {{sourceDoId: 'VARCHAR', events: '{EVENT}[]'}})")
    db.execute(
        "CREATE TEMP TABLE changes AS SELECT DISTINCT ON (source, seq) * FROM (SELECT sourceDoId AS source, "
        f'e."sequence" AS seq, e."timestamp" AS ts, e.operation AS op, e."rowId" AS row_id, e."table" AS target, '
        f'e."before" AS before_image, coalesce(e."after", e."before") AS image FROM (SELECT sourceDoId, '
        f"unnest(events) AS e FROM {read}))")
    for table in TABLES:
        db.execute(
            "COPY (SELECT image.*, row_id, source, seq, ts, op, before_image FROM changes "
            f"WHERE target = '{table}') TO '{out}/{table}.parquet' (FORMAT parquet, COMPRESSION snappy)")
    rows, = db.execute("SELECT count(*) FROM changes").fetchone()
    print(json.dumps({
        "rows": rows, "cpu_seconds": round(time.process_time() - cpu, 3),
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "bytes": sum(os.path.getsize(out / f"{table}.parquet") for table in TABLES),
    }))


if __name__ == "__main__":
    main()
