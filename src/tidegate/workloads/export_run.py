"""Query results as Arrow and Excel files, inside the sandbox.

pyarrow and XlsxWriter are extras: they are loaded here alone, after the fork: the zygote stays small and has one thread.
Both are written in pieces of a few thousand rows.
"""

from __future__ import annotations

import datetime
import decimal
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import _duckdb as duckdb
from _duckdb._sqltypes import DuckDBPyType

from tidegate.workloads.errors import TaskError

_ROWS = 2048
MOST_XLSX_ROWS = 1_048_576
"""Of a sheet, the header's included; this and the other two are Excel's own limits."""
MOST_XLSX_COLUMNS = 16_384
MOST_XLSX_TEXT = 32_767
_EXACT = 10**15
"""Excel keeps 15 digits of a number. Larger ones are written as text."""
_FIRST_DAY = datetime.date(1900, 3, 1)
"""Excel takes 1900 for a leap year: days before this would be off by one. They are written as text."""
_KEPT = frozenset(
    {"boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "hugeint",
     "float", "double", "decimal", "varchar", "date", "time", "timestamp"}
)  # fmt: skip
"""Types of which values become cells; all others are text."""


def xlsx_cast(kind: DuckDBPyType) -> str | None:
    """The type to cast a column to before its values become cells; None where they do as they are."""
    return None if kind.id in _KEPT else "VARCHAR"


def write_arrow(con: duckdb.DuckDBPyConnection, path: str) -> int:
    """The rows of the query that runs on `con` as an Arrow IPC file (Feather, version 2); how many."""
    arrow = _module("pyarrow", "arrow")
    ipc = importlib.import_module("pyarrow.ipc")
    arrow.set_cpu_count(1)
    rows = 0
    # What `to_arrow_reader` of the package `duckdb` calls, which is not loaded here, see `duckdb_session`.
    reader: Any = con._result_as_arrow(_ROWS * 4, reader=True)
    with arrow.OSFile(path, "wb") as sink, ipc.new_file(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def write_xlsx(con: duckdb.DuckDBPyConnection, names: Sequence[str], path: str, staging: str) -> int:
    """The rows of the query that runs on `con` as the one sheet of a workbook; how many.

    Raises TaskError `xlsx_limit` for more than Excel can hold: nothing is cut. Whole numbers of more than 15 digits, instants
    finer than a millisecond, dates before March 1900, infinities and NaN become text.
    """
    xlsxwriter = _module("xlsxwriter", "xlsx")
    _check_columns(names)
    options = {
        "constant_memory": True,
        "tmpdir": staging,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    book = xlsxwriter.Workbook(path, options)
    try:
        rows = _fill(con, book, names)
    finally:
        book.close()
    return rows


def _fill(con: duckdb.DuckDBPyConnection, book: Any, names: Sequence[str]) -> int:
    sheet = book.add_worksheet()
    cells = _Cells(book, sheet)
    for place, name in enumerate(names):
        sheet.write_string(0, place, name[:MOST_XLSX_TEXT])
    row = 0
    while batch := con.fetchmany(_ROWS):
        for values in batch:
            row += 1
            if row >= MOST_XLSX_ROWS:
                raise _limit(
                    f"A sheet of Excel holds {MOST_XLSX_ROWS - 1:,} rows below its header, and there are more. Choose csv, "
                    "parquet or arrow, or fewer rows.",
                    MOST_XLSX_ROWS - 1,
                )
            for column, value in enumerate(values):
                if value is not None:
                    cells.write(row, column, value, names[column])
    return row


class _Cells:
    """Writes values by their Python types."""

    def __init__(self, book: Any, sheet: Any) -> None:
        self._sheet = sheet
        self._date = book.add_format({"num_format": "yyyy-mm-dd"})
        self._instant = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        self._time = book.add_format({"num_format": "hh:mm:ss.000"})
        self._writers: dict[type, Callable[[int, int, Any], bool]] = {
            bool: self._boolean,
            int: self._whole,
            float: self._float,
            decimal.Decimal: self._decimal,
            datetime.date: self._day,
            datetime.datetime: self._moment,
            datetime.time: self._clock,
        }

    def write(self, row: int, column: int, value: Any, name: str) -> None:
        writer = self._writers.get(type(value))
        if writer is not None and writer(row, column, value):
            return
        text = value if isinstance(value, str) else _text(value)
        if len(text.encode("utf-16-le")) > 2 * MOST_XLSX_TEXT:
            raise _limit(
                f"A cell of Excel holds {MOST_XLSX_TEXT:,} characters; row {row} has {len(text):,} in column {name!r:.100}. "
                "Choose csv, parquet or arrow.",
                MOST_XLSX_TEXT,
            )
        self._sheet.write_string(row, column, text)

    def _boolean(self, row: int, column: int, value: bool) -> bool:
        self._sheet.write_boolean(row, column, value)
        return True

    def _whole(self, row: int, column: int, value: int) -> bool:
        fits = -_EXACT < value < _EXACT
        if fits:
            self._sheet.write_number(row, column, value)
        return fits

    def _float(self, row: int, column: int, value: float) -> bool:
        fits = math.isfinite(value)
        if fits:
            self._sheet.write_number(row, column, value)
        return fits

    def _decimal(self, row: int, column: int, value: decimal.Decimal) -> bool:
        fits = value.is_finite() and len(value.normalize().as_tuple().digits) <= 15
        if fits:
            self._sheet.write_number(row, column, float(value))
        return fits

    def _day(self, row: int, column: int, value: datetime.date) -> bool:
        fits = value >= _FIRST_DAY
        if fits:
            self._sheet.write_datetime(row, column, value, self._date)
        return fits

    def _moment(self, row: int, column: int, value: datetime.datetime) -> bool:
        fits = value.tzinfo is None and value.date() >= _FIRST_DAY and value.microsecond % 1000 == 0
        if fits:
            self._sheet.write_datetime(row, column, value, self._instant)
        return fits

    def _clock(self, row: int, column: int, value: datetime.time) -> bool:
        fits = value.tzinfo is None and value.microsecond % 1000 == 0
        if fits:
            self._sheet.write_datetime(row, column, value, self._time)
        return fits


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _check_columns(names: Sequence[str]) -> None:
    if len(names) > MOST_XLSX_COLUMNS:
        raise _limit(
            f"A sheet of Excel holds {MOST_XLSX_COLUMNS:,} columns, and there are {len(names):,}. Choose parquet or csv.",
            MOST_XLSX_COLUMNS,
        )


def _limit(message: str, limit: int) -> TaskError:
    return TaskError(message, code="xlsx_limit", numbers={"limit": limit})


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise TaskError(
            f"Files of this format need the package {name!r} on the machine that makes them: pip install "
            f"'tidegate[{extra}]'. The formats parquet, csv and jsonl need nothing.",
            code="missing_package",
        ) from None
