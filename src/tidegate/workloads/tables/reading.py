"""Reads one sheet of a file into Parquet, inside the sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import ZipFile

import _duckdb as duckdb

from tidegate.workloads.tables import csv_files, ods_parts, sizing, workbooks, xlsb_parts, xlsx_parts
from tidegate.workloads.tables.calamine_rows import CalamineSheet, open_workbook
from tidegate.workloads.tables.calamine_rows import sheets as calamine_sheets
from tidegate.workloads.tables.cells import RowSource
from tidegate.workloads.tables.model import Extract, Preview, ReadProgress, Sheet, TableOptions
from tidegate.workloads.tables.ods_sheet import OdsSheet
from tidegate.workloads.tables.xlsb_sheet import XlsbSheet
from tidegate.workloads.tables.xlsx_sheet import XlsxSheet
from tidegate.workloads.tables.xlsx_text import shared_strings


def sheets(path: str) -> list[Sheet]:
    """The tables of a file in their order, hidden ones too. Raises TaskError as `estimate` does."""
    kind = sizing.file_kind(path)
    if kind == "csv":
        return [Sheet("")]
    if kind == "xls":
        return calamine_sheets(open_workbook(path))
    with sizing.open_archive(path) as archive:
        if kind == "ods":
            return ods_parts.sheets(archive)
        return sizing.workbook_sheets(archive, sizing.read_workbook(archive))


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
    kind = sizing.file_kind(path)
    if kind == "xls":
        opened = open_workbook(path)
        found = calamine_sheets(opened)
        yield CalamineSheet(opened, path, found[sizing.choose_sheet(found, options)].name)
        return
    with sizing.open_archive(path) as archive:
        yield _ods(archive, options) if kind == "ods" else _of_parts(archive, options, staging)


def _ods(archive: ZipFile, options: TableOptions) -> RowSource:
    tables = ods_parts.sheets(archive)
    place = sizing.choose_sheet(tables, options)
    return OdsSheet(archive, place, tables[place].name)


def _of_parts(archive: ZipFile, options: TableOptions, staging: str) -> RowSource:
    """A sheet of an xlsx or xlsb file."""
    book = sizing.read_workbook(archive)
    place = sizing.choose_sheet(sizing.filled_sheets(archive, book, options), options, book.parts)
    part, name = book.parts[place], book.sheets[place].name
    spill = os.path.join(staging, "strings.tmp")
    if sizing.is_binary(part):
        texts = xlsb_parts.shared_strings(archive, book.strings, spill)
        return XlsbSheet(archive, part, name, texts, xlsb_parts.cell_kinds(archive, book), book.date_system)
    texts = shared_strings(archive, book.strings, spill)
    return XlsxSheet(archive, part, name, texts, xlsx_parts.cell_kinds(archive, book), book.date_system)
