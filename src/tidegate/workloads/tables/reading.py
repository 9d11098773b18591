"""Reads one sheet of a file into Parquet, inside the sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import _duckdb as duckdb

from tidegate.workloads.tables import csv_files, sizing, workbooks
from tidegate.workloads.tables.calamine_rows import CalamineSheet, open_workbook
from tidegate.workloads.tables.calamine_rows import sheets as calamine_sheets
from tidegate.workloads.tables.cells import RowSource
from tidegate.workloads.tables.model import Extract, Preview, ReadProgress, Sheet, TableOptions
from tidegate.workloads.tables.xlsx_parts import cell_kinds, read_workbook
from tidegate.workloads.tables.xlsx_sheet import XlsxSheet
from tidegate.workloads.tables.xlsx_text import shared_strings


def sheets(path: str) -> list[Sheet]:
    """The tables of a file in their order, hidden ones too. Raises TaskError as `estimate` does."""
    kind = sizing.file_kind(path)
    if kind == "csv":
        return [Sheet("")]
    if kind != "xlsx":
        return calamine_sheets(open_workbook(path))
    with sizing.open_archive(path) as archive:
        return sizing.workbook_sheets(archive, read_workbook(archive))


def preview(
    con: duckdb.DuckDBPyConnection, path: str, options: TableOptions, *, rows: int = 50, staging: str = "."
) -> Preview:
    """The columns and the first rows, of the file's beginning alone. Raises TaskError as `extract` does.

    `staging` is the staging folder, which in a sandbox is the current folder; nothing stays in it.
    """
    if sizing.file_kind(path) == "csv":
        return csv_files.preview(con, path, options, rows, staging)
    with _opened(path, options, staging) as source:
        return workbooks.preview(con, source, options, staging, rows)


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
    if sizing.file_kind(path) == "csv":
        return csv_files.extract(con, path, options, staging, progress)
    with _opened(path, options, staging) as source:
        return workbooks.extract(con, source, os.path.basename(path), options, staging, progress)


@contextmanager
def _opened(path: str, options: TableOptions, staging: str) -> Iterator[RowSource]:
    if sizing.file_kind(path) != "xlsx":
        opened = open_workbook(path)
        found = calamine_sheets(opened)
        yield CalamineSheet(opened, found[sizing.choose_sheet(found, options)].name)
        return
    with sizing.open_archive(path) as archive:
        book = read_workbook(archive)
        place = sizing.choose_sheet(book.sheets, options, book.parts)
        strings = shared_strings(archive, book.strings, os.path.join(staging, "strings.tmp"))
        kinds = cell_kinds(archive, book)
        yield XlsxSheet(archive, book.parts[place], book.sheets[place].name, strings, kinds, book.date_system)
