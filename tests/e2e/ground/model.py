"""What a changelog table must hold, worked out from the events alone.

A row of the lake and an event are brought to one shape before they are compared: absent and null are the same, and a
value that stands in `_cdc_rescued` counts as if it stood in its column, because where a value goes may depend on when
its table was first flushed; that it is there, once and unchanged, may not.
"""

import collections
import datetime
import decimal
import json
import re

FIXED = ["_cdc_key", "_cdc_source", "_cdc_epoch", "_cdc_seq", "_cdc_ts", "_cdc_rescued", "_cdc_op", "_cdc_before"]


def pruned(value):
    """Without nulls in objects; an object without anything is nothing."""
    if isinstance(value, dict):
        kept = {key: pruned(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None} or None
    if isinstance(value, list):
        return [pruned(inner) for inner in value]
    return value


def exact(text):
    """JSON with its numbers kept exactly, as the lake must keep them."""
    return json.loads(text, parse_float=decimal.Decimal)


class Model:
    """Rows by (source, epoch, sequence), one model a table."""

    def __init__(self):
        self.tables = collections.defaultdict(dict)

    def accept(self, source, events, epoch=""):
        for event in events:
            self.tables[event["table"]][source, epoch, event["sequence"]] = expected_row(source, epoch, event)
        return self

    def check(self, table, rows, reader=""):
        """Every accepted event once, byte for byte, and nothing else."""
        expected = self.tables[table]
        seen = collections.Counter((row["_cdc_source"], row["_cdc_epoch"] or "", row["_cdc_seq"]) for row in rows)
        twice = [key for key, times in seen.items() if times > 1]
        assert not twice, f"{reader} {table}: {len(twice)} events more than once: {sorted(twice)[:5]}"
        missing, phantom = expected.keys() - seen.keys(), seen.keys() - expected.keys()
        assert not missing, f"{reader} {table}: {len(missing)} of {len(expected)} events missing: {sorted(missing)[:5]}"
        assert not phantom, f"{reader} {table}: {len(phantom)} events that were never accepted: {sorted(phantom)[:5]}"
        for row in rows:
            want = expected[row["_cdc_source"], row["_cdc_epoch"] or "", row["_cdc_seq"]]
            got = lake_row(row, want)
            difference = first_difference(want, got)
            assert difference is None, f"{reader} {table} {want['_cdc_source']} {want['_cdc_seq']}: {difference}"


def expected_row(source, epoch, event):
    image = event.get("before") if event["operation"] == "DELETE" else event.get("after")
    return {
        **(pruned(image or {}) or {}),
        "_cdc_key": event["rowId"],
        "_cdc_source": source,
        "_cdc_epoch": epoch or None,
        "_cdc_seq": event["sequence"],
        "_cdc_ts": event["timestamp"] * 1000,
        "_cdc_op": event["operation"],
        "_cdc_before": pruned(event.get("before") or {}),
    }


def lake_row(row, want):
    """A row as an engine gave it, `_cdc_ts` in microseconds since 1970, in the model's shape.

    `want` says only where a rescued path leads, because a key may have dots and brackets in it.
    """
    whole = {key: value for key, value in row.items() if key not in FIXED or key == "_cdc_before"}
    fixed = {key: row.get(key) for key in FIXED if key not in ("_cdc_rescued", "_cdc_before")}
    for path, value in exact(row.get("_cdc_rescued") or "{}").items():
        put(whole, path, value, want)
    before = pruned(whole.pop("_cdc_before", None) or {})
    return {**(pruned(whole) or {}), **fixed, "_cdc_before": before}


def put(place, path, value, want):
    """Puts a rescued value where its column would have had it, and makes the way there."""
    if isinstance(want, list):
        index, rest = path[1:].split("]", 1)
        step, rest, inner = int(index), rest.lstrip("."), want[int(index)]
    else:
        fitting = [key for key in want if path == key or path.startswith((f"{key}.", f"{key}["))]
        step = max(fitting, key=len, default=path)
        rest, inner = path[len(step):].removeprefix("."), want.get(step)
    if not rest:
        place[step] = value
        return
    if place[step] is None if isinstance(place, list) else place.get(step) is None:
        place[step] = [None] * len(inner) if isinstance(inner, list) else {}
    put(place[step], rest, value, inner)


class Names:
    """Columns back to the JSON they stand for, as a table's schema tells: the contract of a field's doc.

    `key "A b"`: the JSON key, where a column could not have its name; `json`, `json[]`: texts of JSON.
    """

    def __init__(self, schema):
        self.fields = schema.fields

    def rows(self, rows):
        return [self._object(self.fields, row) for row in rows]

    def _object(self, fields, value):
        known = {field.name: field for field in fields}
        found = {}
        for name, inner in value.items():
            field = known[name]
            key = re.search(r'key ("(?:[^"\\]|\\.)*")', field.doc or "")
            marked = re.match(r"json((?:\[\])*)", field.doc or "")
            decoded = texts(inner, len(marked[1]) // 2) if marked else self._value(field.field_type, inner)
            found[json.loads(key[1]) if key else name] = decoded
        return found

    def _value(self, kind, value):
        if value is None or kind.is_primitive:
            return value
        if hasattr(kind, "element_type"):
            return [self._value(kind.element_type, inner) for inner in value]
        return self._object(kind.fields, value)


def texts(value, depth):
    """JSON texts, in lists of lists of this depth, as what they say."""
    if value is None:
        return None
    return [texts(inner, depth - 1) for inner in value] if depth else exact(value)


def first_difference(want, got, path=""):
    """Where and how two values differ, or None. A number equals a number of another type of the same value."""
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted(want.keys() | got.keys()):
            found = first_difference(want.get(key), got.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for index, (one, other) in enumerate(zip(want, got)):
            found = first_difference(one, other, f"{path}[{index}]")
            if found:
                return found
        return None
    return None if same(want, got) else f"{path}: expected {want!r}, got {got!r}"


def same(want, got):
    numbers = (int, float, decimal.Decimal)
    if isinstance(want, bool) or isinstance(got, bool):
        return want is got
    if isinstance(want, numbers) and isinstance(got, numbers):
        # A double and the decimal text that it was read from are the same if the text reads back as that double.
        return float(want) == float(got) if isinstance(want, float) or isinstance(got, float) else want == got
    if isinstance(got, datetime.datetime):
        raise AssertionError("readers hand timestamps over as microseconds")
    return type(want) is type(got) and want == got
