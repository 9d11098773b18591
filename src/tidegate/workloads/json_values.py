"""DuckDB's values as JSON: which columns are cast to text in SQL, and how the rest is turned over in Python.

Text is made by DuckDB where Python's own types would lose something: dates beyond year 9999, nanoseconds,
intervals with months, time zones. The rule goes by a column's type alone, never by a value. docs/sql.md has
it as a table.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

from _duckdb._sqltypes import DuckDBPyType

from tidegate.workloads.types import cast_type, inner_types

Convert = Callable[[Any], Any]

_TEXT_AND_INTEGERS = (
    "boolean tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint varchar"
)
_FETCHED = frozenset((*_TEXT_AND_INTEGERS.split(), "float", "double", "blob"))
"""Types that Python holds without loss; all others are cast to text by DuckDB."""
_INSTANTS = frozenset(
    {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"}
)


def json_cast(kind: DuckDBPyType) -> str | None:
    """The type to cast a column to before its values are fetched; None where Python has the value as it
    is.
    """
    return cast_type(kind, lambda one: None if one.id in _FETCHED else "VARCHAR")


def converter(kind: DuckDBPyType) -> Convert | None:
    """What turns a fetched value that is not null into JSON; None where it is JSON already."""
    if kind.id in ("list", "array"):
        return _list_of(_or_null(converter(inner_types(kind)[0][1])))
    if kind.id == "struct":
        return _struct(kind)
    if kind.id == "map":
        return _map(kind)
    if kind.id == "decimal":
        return int if dict(kind.children)["scale"] == 0 else None
    return _instant if kind.id in _INSTANTS else _LEAVES.get(kind.id)


def _struct(kind: DuckDBPyType) -> Convert:
    converts = {name: _or_null(converter(inner)) for name, inner in inner_types(kind)}
    return lambda value: {name: converts[name](item) for name, item in value.items()}


def _map(kind: DuckDBPyType) -> Convert:
    """Maps become lists of {"key", "value"}, since JSON knows only text as keys and keeps no order."""
    (_, key_type), (_, value_type) = inner_types(kind)
    in_key, in_value = _or_null(converter(key_type)), _or_null(converter(value_type))
    nested = key_type.id in ("list", "array", "struct", "map")

    def convert(found: dict[Any, Any]) -> list[dict[str, Any]]:
        # Keys that Python cannot hash come as two lists.
        pairs = zip(found["key"], found["value"], strict=True) if nested else found.items()
        return [{"key": in_key(key), "value": in_value(value)} for key, value in pairs]

    return convert


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


_LEAVES: dict[str, Convert] = {"float": _float, "double": _float, "blob": _blob}
