"""Looks through a Parquet file before it is loaded: which rows the table cannot hold, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import _duckdb as duckdb

from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote, quote_name
from tidegate.workloads.tables.model import Extract
from tidegate.workloads.targets import stream
from tidegate.workloads.targets.fitting import Check, Fitted
from tidegate.workloads.targets.model import LoadOrder

BAD_ROW_COLUMNS = (
    "load_id",
    "file",
    "sheet",
    "row",
    "data_row",
    "column",
    "value",
    "code",
    "reason",
    "loaded",
)
"""Of the side table. `row` is that of the file, where the reader could tell; `data_row` counts the rows read, from 1."""
_LONGEST_VALUE = 200


@dataclass(frozen=True, slots=True)
class Survey:
    """What of a file can be loaded."""

    good_rows: int
    bad_rows: int
    where: str
    """The condition of the good rows; empty when all are."""
    failing: tuple[Check, ...]
    """The checks that some row did not pass."""


def look_through(
    con: duckdb.DuckDBPyConnection, extract: Extract, columns: Sequence[Fitted], more: Sequence[Check]
) -> Survey:
    """Try all checks in one pass. Raises TaskError `row_refused` when one fails that is fatal, with the first such row."""
    checks = [check for column in columns for check in column.checks] + list(more)
    if not checks:
        return Survey(extract.row_count, 0, "", ())
    any_bad = " OR ".join(f"coalesce({check.bad}, false)" for check in checks if not check.fatal) or "false"
    counts = ", ".join(f"count(*) FILTER ({check.bad})" for check in checks)
    row = con.execute(
        f"SELECT count(*), count(*) FILTER ({any_bad}), {counts} FROM {parquet(extract.path)}"
    ).fetchone()
    assert row is not None
    failing = tuple(check for check, count in zip(checks, row[2:], strict=True) if count)
    for check in failing:
        if check.fatal:
            raise _refused(con, extract, check)
    return Survey(row[0] - row[1], row[1], f"NOT ({any_bad})" if row[1] else "", failing)


def bad_rows_query(extract: Extract, order: LoadOrder, survey: Survey) -> str | None:
    """A SELECT of BAD_ROW_COLUMNS: what the reader found bad, and what the target cannot hold; None if neither."""
    parts = []
    given = f"{quote(order.load_id)} AS load_id"
    if extract.bad_rows_path is not None:
        parts.append(
            f'SELECT {given}, file, sheet, "row", CAST(NULL AS BIGINT) AS data_row, "column", value, code, reason, loaded '
            f"FROM {parquet(extract.bad_rows_path)}"
        )
    number, numbered = _numbered(extract)
    parts += [
        f"SELECT {given}, {quote(order.file)}, {quote(order.sheet)}, NULL, {number}, {quote(check.column)}, "
        f"{_shown(check.column)}, {quote(check.code)}, {quote(check.reason)}, false FROM {numbered} WHERE {check.bad}"
        for check in survey.failing
    ]
    return " UNION ALL ".join(parts) or None


def parquet(path: str) -> str:
    return f"read_parquet({quote(path)})"


def _shown(column: str) -> str:
    """The value for people: short, and with a sign for the one character that not all databases take."""
    return f"left(replace(CAST({quote_name(column)} AS VARCHAR), chr(0), '␀'), {_LONGEST_VALUE})"


def _numbered(extract: Extract) -> tuple[str, str]:
    """The rows with their number from 1, under a name that none of their columns has; the name and the relation."""
    taken = {column.name.casefold() for column in extract.columns}
    name = "data_row"
    while name in taken:
        name += "_"
    number = quote_name(name)
    return number, f"(SELECT row_number() OVER () AS {number}, * FROM {parquet(extract.path)})"


def _refused(con: duckdb.DuckDBPyConnection, extract: Extract, check: Check) -> TaskError:
    number, numbered = _numbered(extract)
    row = next(stream.rows(con, f"SELECT min({number}) FROM {numbered} WHERE {check.bad}"))[0]
    return TaskError(
        f"Row {row} of those read cannot be loaded, column {check.column!r}: {check.reason} Nothing was loaded.",
        code="row_refused",
        numbers={"data_row": row},
    )
