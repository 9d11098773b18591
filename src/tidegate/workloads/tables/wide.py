"""Sheets whose columns need long expressions, all columns by one expression.

DuckDB plans a query in more than proportion to the expressions in it: 1,000 columns of mixed cells took 21 s and 4 GiB. The
columns of a sheet have few different expressions, so here each cell is given that of its column, by its place in the row; the
values are written as text and read back with their types, which needs no expression at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import _duckdb as duckdb

from tidegate.workloads.literals import quote, quote_name
from tidegate.workloads.tables.bad_rows import BadCells
from tidegate.workloads.tables.cells import ESCAPE, SEPARATOR, escaped_sql, unescaped_sql
from tidegate.workloads.tables.column_types import kind_sql, nulled
from tidegate.workloads.tables.model import Column, ColumnType
from tidegate.workloads.tables.staged import StagedRows

_PLAIN_CHARS = 100
"""An expression of no more characters costs next to nothing: 4,000 such columns are planned in a second."""
_MOST_CHARS = 150_000
"""Of all longer ones together. 200 columns of dates, or 50 of mixed cells, take about a second to plan."""
_LONGEST_VALUE_BYTES = 40
"""What a cell may grow by as text: a number to 39 digits, a date to `2024-01-31 12:00:00.123456`."""


def is_wide(values: Sequence[str]) -> bool:
    """Whether a query of these expressions, one a column, would take long to plan."""
    return sum(len(value) for value in values if len(value) > _PLAIN_CHARS) > _MOST_CHARS


@dataclass(frozen=True, slots=True)
class WideColumn:
    """A column and the SQL of its value, given the cell `c`."""

    place: int
    column: Column
    value: str
    given: bool
    escaped: bool
    """Some of its texts have characters that staged rows cannot hold as they are."""


def remove(staged: StagedRows) -> None:
    """Delete the file of values that WideRows may have written for these rows."""
    if os.path.exists(_values_path(staged)):
        os.unlink(_values_path(staged))


def _values_path(staged: StagedRows) -> str:
    return f"{staged.path}.values"


class WideRows:
    """The staged rows of such a sheet."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        staged: StagedRows,
        columns: Sequence[WideColumn],
        null_texts: Sequence[str],
    ) -> None:
        self._con = con
        self._staged = staged
        self._columns = columns
        self._cell = nulled("nullif(x, '')", null_texts)
        self._path = _values_path(staged)
        classes: dict[str, int] = {}
        self._class_of = [0] * staged.width
        for one in columns:
            if one.place < staged.width:
                text = f"CAST({one.value} AS VARCHAR)"
                text = escaped_sql(text) if one.escaped else text
                self._class_of[one.place] = classes.setdefault(text, len(classes) + 1)
        self._cases = " ".join(f"WHEN {number} THEN {text}" for text, number in classes.items())

    def select(self) -> str:
        """The rows, as SQL: writes the values of all cells first."""
        texts = f"list_transform({self._cells()}, lambda c, i : coalesce({self._value('$classes[i]')}, ''))"
        line = f"cells[1] || '{SEPARATOR}' || array_to_string({texts}, '{SEPARATOR}') AS line"
        self._con.execute(
            f"COPY (SELECT {line} FROM {self._staged.lines()}) TO {quote(self._path)} (FORMAT csv, HEADER false, "
            f"DELIMITER '{ESCAPE * 2}', QUOTE '', ESCAPE '', USE_TMP_FILE false)",
            self._values("classes"),
        )
        wanted = ", ".join(
            f"{self._read_value(one)} AS {quote_name(one.column.name)}" for one in self._columns
        )
        types = {one.place: one.column.type.sql for one in self._columns}
        read = self._staged.read_as(self._path, types, _LONGEST_VALUE_BYTES * self._staged.width)
        return f"SELECT {wanted} FROM {read}"

    def find_bad(self, bad: BadCells) -> None:
        """All that are no empty cells and have no value."""
        every = f"SELECT cells[1] AS r, unnest({self._cells()}) AS c, generate_subscripts(cells[2:], 1) AS i"
        classed = (
            f"SELECT r, c, i, $classes[i] AS class, {kind_sql('c')} AS k FROM ({every} FROM {self._staged.lines()}) "
            "WHERE c IS NOT NULL"
        )
        cells = (
            'SELECT CAST(r AS BIGINT) AS r, $names[i] AS "column", $types[i] AS kind, $given[i] AS given, c, k '
            f"FROM ({classed}) WHERE ({self._value('class')}) IS NULL"
        )
        bad.add_wide(f"({cells})", self._values("classes", "names", "types", "given"))

    def _value(self, which: str) -> str:
        """The value of the cell `c` as text, given the number of its column's expression; 0 is of columns without values."""
        return f"CASE {which} {self._cases} END"

    def _cells(self) -> str:
        return f"list_transform(cells[2:], lambda x : {self._cell})"

    def _read_value(self, one: WideColumn) -> str:
        cell = f"c{one.place}"
        if one.place >= self._staged.width:
            return f"CAST(NULL AS {one.column.type.sql})"
        return unescaped_sql(cell) if one.escaped and one.column.type is ColumnType.TEXT else cell

    def _values(self, *wanted: str) -> dict[str, Any]:
        """Lists by place, as parameters: as text they would have to be parsed."""
        found: dict[str, list[Any]] = {
            "classes": self._class_of,
            "names": [""] * self._staged.width,
            "types": [""] * self._staged.width,
            "given": [False] * self._staged.width,
        }
        for one in self._columns:
            if one.place < self._staged.width:
                found["names"][one.place] = one.column.name
                found["types"][one.place] = str(one.column.type)
                found["given"][one.place] = one.given
        return {name: found[name] for name in wanted}
