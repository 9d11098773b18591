"""Reads one sheet of a file into Parquet, inside the sandbox."""

from __future__ import annotations

import _duckdb as duckdb

from tidegate.workloads.tables import csv_files
from tidegate.workloads.tables.model import Extract, Preview, ReadProgress, Sheet, TableOptions
from tidegate.workloads.tables.sizing import estimate


def sheets(path: str) -> list[Sheet]:
    """The tables of a file in their order, hidden ones too. Raises TaskError as `estimate` does."""
    return [Sheet("")]


def preview(con: duckdb.DuckDBPyConnection, path: str, options: TableOptions, *, rows: int = 50) -> Preview:
    """The columns and the first rows, of the file's beginning alone. Raises TaskError as `extract` does."""
    estimate(path, options)
    return csv_files.preview(con, path, options, rows)


def extract(
    con: duckdb.DuckDBPyConnection,
    path: str,
    options: TableOptions,
    staging: str,
    *,
    progress: ReadProgress = lambda rows, share: None,
) -> Extract:
    """Write `staging`/rows.parquet, and bad_rows.parquet if anything was bad.

    `con` is a session of `duckdb_session.open_session` for which `path` is readable and `staging` the staging folder. All that
    the file holds is in one of the two files or the call fails. Raises TaskError: those of `estimate`, `unknown_sheet`,
    `no_rows`, `not_text`, `too_many_bad_rows`, `unknown_column` (of `types`), and those of queries.
    """
    estimate(path, options)
    return csv_files.extract(con, path, options, staging, progress)
