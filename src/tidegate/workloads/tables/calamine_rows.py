"""Sheets of xls files, by python-calamine.

It reads a workbook as a whole, and gives an error of the spreadsheet as an empty cell: errors are added by `xls_errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables import xls_errors
from tidegate.workloads.tables.cells import BOOLEAN, DATE, DURATION, ERROR, DateSystem, Row, serial, text_cell
from tidegate.workloads.tables.model import Sheet


def open_workbook(path: str) -> CalamineWorkbook:
    """Raises TaskError: `encrypted_file`, `corrupt_file`."""
    try:
        return CalamineWorkbook.from_path(path)
    except PasswordError:
        raise TaskError(
            "The workbook is encrypted. Save it without a password, and load that.", code="encrypted_file"
        ) from None
    except CalamineError as error:
        raise _damaged(error) from None


def sheets(book: CalamineWorkbook) -> list[Sheet]:
    """Its worksheets in their order, those without a cell with `row_count` 0."""
    return [
        Sheet(
            one.name,
            one.visible == SheetVisibleEnum.Visible,
            None if book.get_sheet_by_name(one.name).start else 0,
        )
        for one in book.sheets_metadata
        if one.typ == SheetTypeEnum.WorkSheet
    ]


class CalamineSheet:
    """A sheet as a RowSource."""

    date_system: DateSystem = "plain"

    def __init__(self, book: CalamineWorkbook, path: str, name: str) -> None:
        self.name = name
        self._errors = xls_errors.errors(path, book.sheet_names.index(name))
        try:
            self._sheet = book.get_sheet_by_name(name)
        except CalamineError as error:
            raise _damaged(error) from None
        self._row = 0

    def share(self) -> float:
        end = self._sheet.end
        return min(1.0, self._row / (end[0] + 1)) if end else 1.0

    def rows(self) -> Iterator[Row]:
        start = self._sheet.start
        left = [""] * (start[1] if start else 0)
        for number, cells in enumerate(self._sheet.iter_rows(), start=1):
            self._row = number
            row = left + list(map(_cell, cells))
            for column, error in self._errors.get(number, ()):
                row += [""] * (column + 1 - len(row))
                row[column] = ERROR + error
            yield number, row

    def merged(self) -> list[tuple[int, int, int, int]]:
        areas = self._sheet.merged_cell_ranges or []
        return [(top + 1, left, bottom + 1, right) for (top, left), (bottom, right) in areas]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, bool):
        return BOOLEAN + ("1" if value else "0")
    if isinstance(value, float | int):
        return repr(value)
    if isinstance(value, timedelta):
        return DURATION + serial(value, "plain")
    assert isinstance(value, datetime | date | time), type(value)
    return DATE + serial(value, "plain")


def _damaged(error: Exception) -> TaskError:
    return TaskError(
        f"The workbook cannot be read: {error}. Get it anew, or save it anew with a spreadsheet program.",
        code="corrupt_file",
    )
