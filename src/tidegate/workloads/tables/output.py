"""Parquet files as the readers leave them, and values for a preview."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import _duckdb as duckdb

from tidegate.workloads.literals import quote

_DICTIONARY_VALUES = 6144
"""Most different values of a column and row group (122,880 rows) that are written as a dictionary: each then stands there
20 times at the mean. DuckDB tries it up to a fifth of the rows; docs/decisions/csv-reading.md says what that costs."""
_FORM = (
    f"FORMAT parquet, COMPRESSION snappy, PARQUET_VERSION 'V2', DICTIONARY_SIZE_LIMIT {_DICTIONARY_VALUES}"
)


def write_parquet(con: duckdb.DuckDBPyConnection, select: str, path: str, *, group_rows: int = 0) -> int:
    """COPY the query into a file and write it through to the disk; its rows."""
    size = f", ROW_GROUP_SIZE {group_rows}" if group_rows else ""
    row = con.execute(f"COPY ({select}) TO {quote(path)} ({_FORM}{size})").fetchone()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return int(row[0]) if row else 0


def json_value(value: Any) -> Any:
    """Dates, times and large integers as text, which JSON and JavaScript keep."""
    if isinstance(value, Decimal):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat(" ") if hasattr(value, "hour") and hasattr(value, "year") else value.isoformat()
