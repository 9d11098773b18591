"""DuckDB's values as JSON: which columns are cast to text in SQL, and how the rest is turned over in Python.

Text is made by DuckDB where Python's own types would lose something: dates beyond year 9999, nanoseconds,
intervals with months, time zones. The rule goes by a column's type alone, never by a value. docs/sql.md has
it as a table.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from duckdb.sqltypes import DuckDBPyType

from tidegate.workloads.literals import quote_name

Convert = Callable[[Any], Any]

_TEXT_AND_INTEGERS = (
    "boolean tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint varchar"
)
_AS_IT_IS = frozenset(_TEXT_AND_INTEGERS.split())
_FLOATS = frozenset({"float", "double"})
_INSTANTS = frozenset(
    {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"}
)


class Shape(NamedTuple):
    """How a type is read: the SQL type to cast to (None: no cast needed) and what to do with each value
    (None: nothing).
    """

    sql_type: str
    cast: bool
    convert: Convert | None


def shape(kind: DuckDBPyType) -> Shape:
    """How values of this type become JSON."""
    name = kind.id
    if name in _AS_IT_IS:
        return Shape(str(kind), False, None)
    if name in _FLOATS:
        return Shape(str(kind), False, _float)
    if name == "blob":
        return Shape("BLOB", False, _blob)
    if name in _INSTANTS:
        return Shape("VARCHAR", True, _instant)
    if name == "list":
        return _list(kind)
    if name == "array":
        return _list(kind, f"[{dict(kind.children)['size']}]")
    if name == "struct":
        return _struct(kind)
    if name == "map":
        return _map(kind)
    return Shape("VARCHAR", True, None)


def _inner(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """The types inside a nested one, by name; what else DuckDB lists among its children is left out."""
    return [(name, inner) for name, inner in kind.children if isinstance(inner, DuckDBPyType)]


def _list(kind: DuckDBPyType, brackets: str = "[]") -> Shape:
    inner = shape(_inner(kind)[0][1])
    convert = inner.convert
    if convert is None:
        return Shape(inner.sql_type + brackets, inner.cast, _list_of(lambda value: value))
    return Shape(inner.sql_type + brackets, inner.cast, _list_of(_or_null(convert)))


def _struct(kind: DuckDBPyType) -> Shape:
    fields = {name: shape(inner) for name, inner in _inner(kind)}
    sql_type = ", ".join(f"{quote_name(name)} {inner.sql_type}" for name, inner in fields.items())
    converts = {name: _or_null(inner.convert) for name, inner in fields.items() if inner.convert is not None}
    return Shape(
        f"STRUCT({sql_type})",
        any(inner.cast for inner in fields.values()),
        lambda value: {key: converts[key](item) if key in converts else item for key, item in value.items()},
    )


def _map(kind: DuckDBPyType) -> Shape:
    """Maps become lists of {"key", "value"}, since JSON knows only text as keys and keeps no order."""
    (_, key_type), (_, value_type) = _inner(kind)
    key, value = shape(key_type), shape(value_type)
    in_key, in_value = _or_null(key.convert), _or_null(value.convert)
    nested = key_type.id in ("list", "array", "struct", "map")

    def convert(found: dict[Any, Any]) -> list[dict[str, Any]]:
        # Keys that Python cannot hash come as two lists.
        pairs = zip(found["key"], found["value"], strict=True) if nested else found.items()
        return [{"key": in_key(k), "value": in_value(v)} for k, v in pairs]

    return Shape(f"MAP({key.sql_type}, {value.sql_type})", key.cast or value.cast, convert)


def _list_of(convert: Convert) -> Convert:
    return lambda values: [convert(value) for value in values]


def _or_null(convert: Convert | None) -> Convert:
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)


def _float(value: float) -> float | str:
    """JSON has no NaN and no infinities: they become the texts `NaN`, `Infinity`, `-Infinity`."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _blob(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _instant(value: str) -> str:
    """`2024-01-31 12:00:00+00` as ISO 8601 has it: `2024-01-31T12:00:00+00:00`."""
    text = value.replace(" ", "T", 1) if value[:1].isdigit() else value
    return (
        text + ":00"
        if text[-3:-2] in ("+", "-") and text[-2:].isdigit() and "T" in text and ":" in text
        else text
    )
