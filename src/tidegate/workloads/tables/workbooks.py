"""From the rows of a sheet to Parquet: header, staged rows, types over all rows, one COPY, and what was bad."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import _duckdb as duckdb

from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote_name
from tidegate.workloads.tables import bad_rows, column_types, wide
from tidegate.workloads.tables.bad_rows import BadCells
from tidegate.workloads.tables.cells import Row, RowSource
from tidegate.workloads.tables.column_types import Expressions, Profile
from tidegate.workloads.tables.header import LOOKED_AT, header_row, headers
from tidegate.workloads.tables.model import (
    BAD_ROWS_FILE,
    ROWS_FILE,
    Column,
    Extract,
    Preview,
    ReadProgress,
    TableOptions,
)
from tidegate.workloads.tables.names import clean_names, given_types
from tidegate.workloads.tables.output import json_value, write_parquet
from tidegate.workloads.tables.staged import StagedRows
from tidegate.workloads.tables.wide import WideColumn, WideRows

_TELL_EVERY_ROWS = 2000
_READING_SHARE = 0.8
"""Of the work: reading the file; the rest is casting and writing, done by DuckDB."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Staged rows and what their columns are."""

    staged: StagedRows
    columns: tuple[Column, ...]
    places: tuple[int, ...]
    """Of each column, among the staged cells."""
    profiles: tuple[Profile, ...]
    given: frozenset[int]
    """Places whose type was given."""
    header_row: int | None

    def of_columns(self) -> Iterator[tuple[int, Column, Profile]]:
        return zip(self.places, self.columns, self.profiles, strict=True)


def extract(
    con: duckdb.DuckDBPyConnection,
    source: RowSource,
    file: str,
    options: TableOptions,
    staging: str,
    progress: ReadProgress,
) -> Extract:
    staged = StagedRows(os.path.join(staging, "cells.tmp"))
    try:
        table = _stage(con, source, options, staged, _told(source, progress))
        rows = _rows(con, table, options, Expressions(source.date_system))
        bad = BadCells(con, file, source.name)
        rows.find_bad(bad)
        bad_row_count = bad.count_left_out()
        bad_rows.check(file, source.name, bad_row_count, staged.row_count, options.max_bad_rows)
        path = os.path.join(staging, ROWS_FILE)
        left_out = bad.left_out_sql() if bad_row_count else ""
        row_count = write_parquet(con, f"{rows.select()}{left_out}", path, columns=len(table.columns))
    finally:
        wide.remove(staged)
        staged.remove()
    progress(row_count, 1.0)
    return Extract(
        path=path,
        columns=table.columns,
        row_count=row_count,
        bad_row_count=bad_row_count,
        bad_cell_count=bad.count_nulls(),
        bad_rows_path=bad.write(os.path.join(staging, BAD_ROWS_FILE)),
        header_row=table.header_row,
        facts={"sheet": source.name},
    )


def preview(
    con: duckdb.DuckDBPyConnection, source: RowSource, options: TableOptions, staging: str, rows: int
) -> Preview:
    staged = StagedRows(os.path.join(staging, f"preview-{os.getpid()}.tmp"))
    try:
        table = _stage(con, source, options, staged, lambda found: islice(found, LOOKED_AT + rows))
        select = _rows(con, table, options, Expressions(source.date_system)).select()
        shown = con.execute(f"{select} ORDER BY r LIMIT {int(rows)}").fetchall()
    finally:
        wide.remove(staged)
        staged.remove()
    values = tuple(tuple(map(json_value, row)) for row in shown)
    return Preview(table.columns, values, table.header_row, {"sheet": source.name})


def _told(source: RowSource, progress: ReadProgress) -> Any:
    def told(rows: Iterator[Row]) -> Iterator[Row]:
        for count, row in enumerate(rows):
            if count % _TELL_EVERY_ROWS == 0:
                progress(count, source.share() * _READING_SHARE)
            yield row

    return told


def _stage(
    con: duckdb.DuckDBPyConnection, source: RowSource, options: TableOptions, staged: StagedRows, through: Any
) -> _Table:
    """Read the rows below the header into the staged file, then judge names and types of the columns."""
    rows = through(row for row in source.rows() if row[0] > options.skip_rows and any(row[1]))
    head = list(islice(rows, LOOKED_AT))
    header = header_row(head, options.header)
    rows = chain(head, rows)
    header_cells: Sequence[str] = ()
    if header is not None:
        header_cells, rows = _cells_of(rows, header)
    staged.add(rows)
    staged.close()
    if not staged.width and not any(header_cells):
        raise TaskError(
            f"The sheet {source.name!r} holds no table: no cell below row {header or options.skip_rows} has a value. "
            "Name another with `options.sheet`.",
            code="no_rows",
        )
    found = column_types.profiles(con, staged, options.null_texts)
    return _table(staged, found, header_cells, header, source, options)


def _cells_of(rows: Iterator[Row], wanted: int) -> tuple[Sequence[str], Iterator[Row]]:
    """The cells of the header's row, empty if it has none, and the rows below it."""
    for number, cells in rows:
        if number == wanted:
            return cells, rows
        if number > wanted:
            return (), chain([(number, cells)], rows)
    return (), rows


def _table(
    staged: StagedRows,
    found: list[Profile],
    header_cells: Sequence[str],
    header: int | None,
    source: RowSource,
    options: TableOptions,
) -> _Table:
    width = max(staged.width, len(header_cells))
    originals = headers(header_cells, header or 0, width, source.merged())
    found += [Profile(0)] * (width - len(found))
    places = [place for place in range(width) if found[place].kinds or originals[place]]
    names = clean_names(originals)
    types = {place: found[place].type() for place in places}
    given = given_types(options.types, [(place, names[place], originals[place]) for place in places])
    types.update(given)
    return _Table(
        staged,
        tuple(Column(names[place], originals[place], types[place]) for place in places),
        tuple(places),
        tuple(found[place] for place in places),
        frozenset(given),
        header,
    )


def _rows(
    con: duckdb.DuckDBPyConnection, table: _Table, options: TableOptions, expressions: Expressions
) -> _NarrowRows | WideRows:
    """How the rows are read: by an expression a column, or all by one where that would take long to plan."""
    if not wide.is_wide([_value("c", *one, table, expressions) for one in table.of_columns()]):
        return _NarrowRows(
            table, column_types.cleaned(table.staged, table.places, options.null_texts), expressions
        )
    columns = [
        WideColumn(
            place,
            column,
            _value("c", place, column, profile, table, expressions),
            place in table.given,
            profile.escaped > 0,
        )
        for place, column, profile in table.of_columns()
    ]
    return WideRows(con, table.staged, columns, options.null_texts)


@dataclass(frozen=True, slots=True)
class _NarrowRows:
    """The staged rows of a sheet whose columns are each read by an expression of its own; `cells` is a subquery of them."""

    table: _Table
    cells: str
    expressions: Expressions

    def select(self) -> str:
        wanted = ", ".join(
            f"{self._value(place, column, profile)} AS {quote_name(column.name)}"
            for place, column, profile in self.table.of_columns()
        )
        return f"SELECT {wanted} FROM {self.cells} AS staged"

    def find_bad(self, bad: BadCells) -> None:
        for place, column, profile in self.table.of_columns():
            if place >= self.table.staged.width:
                continue
            cell, given = f"c{place}", place in self.table.given
            value = self._value(place, column, profile)
            if profile.errors:
                bad.add_errors(self.cells, cell, column.name)
            if profile.unreadable or (profile.far_dates and not given):
                bad.add_unreadable(self.cells, cell, column.name, value)
            if given:
                bad.add_wrong(self.cells, cell, column, value)

    def _value(self, place: int, column: Column, profile: Profile) -> str:
        return _value(f"c{place}", place, column, profile, self.table, self.expressions)


def _value(
    cell: str, place: int, column: Column, profile: Profile, table: _Table, expressions: Expressions
) -> str:
    if place >= table.staged.width:
        return f"CAST(NULL AS {column.type.sql})"
    if place in table.given:
        return expressions.given(cell, column.type)
    return expressions.inferred(cell, column.type, profile)
