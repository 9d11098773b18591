"""What could not be taken: gathered in a table of the session, and written as bad_rows.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import _duckdb as duckdb

from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote
from tidegate.workloads.tables.cells import unescaped_sql
from tidegate.workloads.tables.column_types import kind_sql
from tidegate.workloads.tables.model import Column
from tidegate.workloads.tables.output import write_parquet

_TABLE = "tidegate_bad_rows"
_SHOWN = 200
_ERROR_BIT = 32
_UNREADABLE = "The file says that the cell holds a number or a date, and it holds neither."
_CREATE = (
    f'CREATE OR REPLACE TEMP TABLE {_TABLE} (file VARCHAR, sheet VARCHAR, "row" BIGINT, "column" VARCHAR, '
    "value VARCHAR, code VARCHAR, reason VARCHAR, loaded BOOLEAN)"
)


def check(file: str, sheet: str, bad: int, rows: int, most: int) -> None:
    """Raises TaskError when more rows are bad than may be."""
    if bad <= most:
        return
    where = f"the sheet {sheet!r} of {file!r}" if sheet else f"{file!r}"
    raise TaskError(
        f"{bad} of {rows} rows of {where} are bad, and `options.max_bad_rows` allows {most}. Nothing was loaded. "
        "Mend the file, give other `options.types`, or allow more.",
        code="too_many_bad_rows",
        numbers={"bad_rows": bad, "rows": rows, "limit": most},
    )


class BadCells:
    """Bad cells of one sheet. Cells are SQL names of staged cells, `cells` a subquery of staged rows."""

    def __init__(self, con: duckdb.DuckDBPyConnection, file: str, sheet: str) -> None:
        self._con = con
        self._where = f"{quote(file)}, {quote(sheet)}"
        con.execute(_CREATE)

    def add_errors(self, cells: str, cell: str, column: str) -> None:
        """Cells that hold an error of the spreadsheet: null in a row that is kept."""
        shown = f"substr({cell}, 2)"
        reason = f"'The cell holds the error ' || {shown} || '.'"
        self._add(cells, column, shown, "cell_error", reason, f"starts_with({cell}, 'e')", loaded=True)

    def add_unreadable(self, cells: str, cell: str, column: str, value: str) -> None:
        """Cells whose value is not of the kind that the file says: null in a row that is kept."""
        reason = quote(_UNREADABLE)
        where = f"{cell} IS NOT NULL AND ({value}) IS NULL AND {kind_sql(cell)} NOT IN (2, {_ERROR_BIT})"
        self._add(cells, column, _shown(cell), "bad_value", reason, where, loaded=True)

    def add_wrong(self, cells: str, cell: str, column: Column, value: str) -> None:
        """Cells that cannot become the type that was given: their rows are left out."""
        reason = f"{_shown(cell)} || {quote(f' is no {column.type}, the type given for the column.')}"
        where = f"{cell} IS NOT NULL AND ({value}) IS NULL AND {kind_sql(cell)} <> {_ERROR_BIT}"
        self._add(cells, column.name, _shown(cell), "wrong_type", reason, where, loaded=False)

    def add_wide(self, cells: str, values: Mapping[str, Any]) -> None:
        """The same three of all columns at once: `cells` is a subquery of those without a value, see `wide.WideRows`."""
        is_error, is_wrong = f"k = {_ERROR_BIT}", f"k <> {_ERROR_BIT} AND given"
        shown = f"CASE WHEN {is_error} THEN substr(c, 2) ELSE {_shown('c')} END"
        reason = (
            f"CASE WHEN {is_error} THEN 'The cell holds the error ' || shown || '.' "
            f"WHEN {is_wrong} THEN shown || ' is no ' || kind || ', the type given for the column.' "
            f"ELSE {quote(_UNREADABLE)} END"
        )
        code = (
            f"CASE WHEN {is_error} THEN 'cell_error' WHEN {is_wrong} THEN 'wrong_type' ELSE 'bad_value' END"
        )
        self._con.execute(
            f'INSERT INTO {_TABLE} SELECT {self._where}, r, "column", substr(shown, 1, {_SHOWN}), {code}, '
            f"substr({reason}, 1, {2 * _SHOWN}), NOT ({is_wrong}) FROM (SELECT *, {shown} AS shown FROM {cells})",
            dict(values),
        )

    def insert(self, select: str) -> None:
        """Rows of all the fields, of a SELECT."""
        self._con.execute(f"INSERT INTO {_TABLE} {select}")

    def count_left_out(self) -> int:
        return self._count('count(DISTINCT "row") FILTER (NOT loaded)')

    def count_nulls(self) -> int:
        return self._count("count(*) FILTER (loaded)")

    def left_out_sql(self) -> str:
        return f' WHERE r NOT IN (SELECT "row" FROM {_TABLE} WHERE NOT loaded)'

    def write(self, path: str) -> str | None:
        """The path, or None when nothing was bad. Of a row that is left out its other bad cells are left out too."""
        if not self._count("count(*)"):
            return None
        select = f'SELECT * FROM {_TABLE} ORDER BY "row", loaded, "column"'
        write_parquet(self._con, select, path)
        return path

    def _add(
        self, cells: str, column: str, shown: str, code: str, reason: str, where: str, *, loaded: bool
    ) -> None:
        self.insert(
            f"SELECT {self._where}, r, {quote(column)}, substr({shown}, 1, {_SHOWN}), {quote(code)}, "
            f"substr({reason}, 1, {2 * _SHOWN}), {str(loaded).lower()} FROM {cells} AS staged WHERE {where}"
        )

    def _count(self, what: str) -> int:
        row = self._con.execute(f"SELECT {what} FROM {_TABLE}").fetchone()
        return int(row[0]) if row else 0


def _shown(cell: str) -> str:
    text = unescaped_sql(f"substr({cell}, 2)")
    return (
        f"substr(CASE WHEN ascii({cell}) IN (39, 98, 100, 117, 101) THEN {text} ELSE {cell} END, 1, {_SHOWN})"
    )
