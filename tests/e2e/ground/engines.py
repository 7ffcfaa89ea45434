"""Foreign engines, each reading the lake in its own way, all giving the same shape: a list of dictionaries.

Timestamps come as microseconds since 1970, so that no time zone database has a say in a comparison.
"""

import contextlib
import functools
import importlib
import itertools
import pathlib

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import load_catalog

from ground.server import wait_until

EXTENSIONS = ("avro", "httpfs", "iceberg")


def connect_duckdb(s3=None):
    """DuckDB with its packaged extensions, without looking for any on a network. Keeps nothing of what it read."""
    db = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    for name in EXTENSIONS:
        package = pathlib.Path(importlib.import_module(f"duckdb_extension_{name}").__file__).parent
        db.execute(f"LOAD '{package}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    db.execute("SET enable_external_file_cache = false")
    if s3:
        use(db, s3)
    return db


def use(db, s3):
    db.execute(
        f"CREATE OR REPLACE SECRET s3 (TYPE s3, KEY_ID '{s3.key}', SECRET '{s3.secret}', ENDPOINT '{s3.address}', "
        f"URL_STYLE 'path', USE_SSL false, REGION '{s3.region}')")


@functools.lru_cache(maxsize=8)
def shared_duckdb(url=None):
    """One for all reads of one catalog, because loading extensions takes longer than most reads; not one for all
    catalogs: DuckDB 1.5 sends requests for one to the other when they differ in their port alone."""
    return connect_duckdb()


def rows_of(table):
    """An Arrow table as dictionaries."""
    columns = []
    for field, column in zip(table.schema, table.columns):
        if pa.types.is_timestamp(field.type):
            column = pc.cast(pc.cast(column, pa.timestamp("us", "UTC")), pa.int64())
        columns.append(column)
    return pa.table(columns, names=table.schema.names).to_pylist()


def arrow(db, sql):
    answer = db.execute(sql)
    found = answer.to_arrow_table() if hasattr(answer, "to_arrow_table") else answer.fetch_arrow_table()
    return found


def table_folders(store):
    """{table: folder} of every table below a local store, found by its version hint alone."""
    return {hint.parent.parent.name: hint.parent.parent
            for hint in pathlib.Path(store).rglob("metadata/version-hint.text")}


def scan_path(path, sql="SELECT * FROM {}", db=None):
    """DuckDB's iceberg_scan on the bare folder: no catalog, only files."""
    return rows_of(arrow(db or shared_duckdb(), sql.format(f"iceberg_scan('{path}')")))


def scan_folder(server, table, sql="SELECT * FROM {}", namespace="default"):
    """iceberg_scan of a local table of a server, running or not. A hint may lag behind its commit by a second."""
    if server.process is None:
        return scan_path(table_folders(server.store)[table], sql)
    location = server.get(f"/v1/namespaces/{namespace}/tables/{table}").json["metadata-location"]
    metadata = pathlib.Path(location.removeprefix("file://"))
    hint = metadata.parent / "version-hint.text"
    newest = metadata.name.removesuffix(".metadata.json")
    wait_until(f"the hint of {table} to say {newest}", lambda: hint.exists() and hint.read_text().strip() == newest, 10)
    return scan_path(metadata.parent.parent, sql)


ATTACHED = itertools.count(1)


@contextlib.contextmanager
def attached(url, s3=None):
    """DuckDB attached to the REST catalog; gives the connection and the catalog's name there, which is new each time."""
    db, name = shared_duckdb(url), f"lake_{next(ATTACHED)}"
    if s3:
        use(db, s3)
    db.execute(f"ATTACH '' AS {name} (TYPE iceberg, ENDPOINT '{url}', AUTHORIZATION_TYPE 'none')")
    try:
        yield db, name
    finally:
        db.execute(f"DETACH {name}")


def scan_attached(url, table, namespace="default", s3=None, sql="SELECT * FROM {}"):
    with attached(url, s3) as (db, name):
        return rows_of(arrow(db, sql.format(f'{name}."{namespace}"."{table}"')))


def pyiceberg_catalog(url, s3=None):
    properties = {"type": "rest", "uri": url}
    if s3:
        properties |= {"s3.endpoint": s3.url, "s3.access-key-id": s3.key, "s3.secret-access-key": s3.secret,
                       "s3.region": s3.region, "s3.force-virtual-addressing": "false"}
    return load_catalog("lake", **properties)


def scan_pyiceberg(url, table, namespace="default", s3=None):
    return rows_of(pyiceberg_catalog(url, s3).load_table((namespace, table)).scan().to_arrow())
