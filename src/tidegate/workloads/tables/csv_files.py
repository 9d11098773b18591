"""CSV and TSV by DuckDB's own reader, straight into Parquet."""

from __future__ import annotations

import os
from typing import Any

import _duckdb as duckdb

from tidegate.workloads.literals import quote, quote_name
from tidegate.workloads.tables.model import (
    Column,
    ColumnType,
    Extract,
    Preview,
    ReadProgress,
    TableOptions,
)
from tidegate.workloads.tables.names import clean_names

_TYPES = {
    "BOOLEAN": ColumnType.BOOLEAN,
    "BIGINT": ColumnType.INTEGER,
    "HUGEINT": ColumnType.DECIMAL,
    "DOUBLE": ColumnType.DOUBLE,
    "DATE": ColumnType.DATE,
    "TIMESTAMP": ColumnType.TIMESTAMP,
    "TIME": ColumnType.TIME,
}


def preview(con: duckdb.DuckDBPyConnection, path: str, options: TableOptions, rows: int) -> Preview:
    columns = _columns(con, path)
    found = con.execute(f"{_select(path, columns)} LIMIT {int(rows)}").fetchall()
    return Preview(columns, tuple(tuple(map(_json, row)) for row in found), 1, {})


def extract(
    con: duckdb.DuckDBPyConnection, path: str, options: TableOptions, staging: str, progress: ReadProgress
) -> Extract:
    columns = _columns(con, path)
    target = os.path.join(staging, "rows.parquet")
    row = con.execute(
        f"COPY ({_select(path, columns)}) TO {quote(target)} (FORMAT parquet, COMPRESSION snappy)"
    ).fetchone()
    row_count = int(row[0]) if row else 0
    progress(row_count, 1.0)
    return Extract(target, columns, row_count, 0, 0, None, 1, {})


def _columns(con: duckdb.DuckDBPyConnection, path: str) -> tuple[Column, ...]:
    described = con.execute(f"DESCRIBE FROM read_csv({quote(path)}, normalize_names = false)").fetchall()
    originals = [row[0] for row in described]
    types = [_TYPES.get(row[1], ColumnType.TEXT) for row in described]
    return tuple(map(Column, clean_names(originals), originals, types))


def _select(path: str, columns: tuple[Column, ...]) -> str:
    wanted = ", ".join(
        f"CAST({quote_name(column.original)} AS {column.type.sql}) AS {quote_name(column.name)}"
        for column in columns
    )
    return f"SELECT {wanted} FROM read_csv({quote(path)})"


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
