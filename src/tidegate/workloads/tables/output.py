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
_USUAL_COLUMNS = 64
"""Of more columns each has a smaller dictionary: DuckDB makes room for the whole one beforehand, 250 KiB a column."""
_LEAST_VALUES = 16
_GROUP_CELLS = 4 * 1024 * 1024
"""Of a row group of many columns, which DuckDB gathers before it writes: 64 MiB of what stands for texts alone."""
_FORM = "FORMAT parquet, COMPRESSION snappy, PARQUET_VERSION 'V2'"


def write_parquet(con: duckdb.DuckDBPyConnection, select: str, path: str, *, columns: int = 1) -> int:
    """COPY the query, of so many columns, into a file and write it through to the disk; its rows."""
    row = con.execute(f"COPY ({select}) TO {quote(path)} ({_form(columns)})").fetchone()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return int(row[0]) if row else 0


def _form(columns: int) -> str:
    if columns <= _USUAL_COLUMNS:
        return f"{_FORM}, DICTIONARY_SIZE_LIMIT {_DICTIONARY_VALUES}"
    values = max(_DICTIONARY_VALUES * _USUAL_COLUMNS // columns, _LEAST_VALUES)
    rows = max(_GROUP_CELLS // columns // 2048, 1) * 2048
    return f"{_FORM}, DICTIONARY_SIZE_LIMIT {values}, ROW_GROUP_SIZE {rows}"


def json_value(value: Any) -> Any:
    """Dates, times and large integers as text, which JSON and JavaScript keep."""
    if isinstance(value, Decimal):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat(" ") if hasattr(value, "hour") and hasattr(value, "year") else value.isoformat()
