"""Sheets of many columns: the same values, and the same cells kept beside, as of few columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any

import pytest
import xlsxwriter

from tests.workloads.tables.bench import Bench
from tidegate.workloads.tables import wide
from tidegate.workloads.tables.model import TableOptions
from tidegate.workloads.tables.reading import preview

_TIMES = 40
_AT, _DAY, _TIME = "yyyy-mm-dd hh:mm:ss", "yyyy-mm-dd", "hh:mm:ss"
_EARLY = datetime(1900, 1, 3)  # noqa: DTZ001  spreadsheets know no time zones
_LATE = datetime(2024, 2, 29, 23, 59, 59, 123000)  # noqa: DTZ001
_COLUMNS: list[tuple[list[Any], str | None]] = [
    ([1, 2, None, 4, 5], None),
    ([1.5, 1e300, -0.25, None, 3], None),
    ([12345678901234567000, 1, 2, 3, 4], None),
    (["plain", "two\nlines", "a\x1cn\x1f\tb", ' "q", ', "ü"], None),
    ([_LATE, _EARLY, None, _LATE, _LATE], _AT),
    ([datetime(2024, 1, 31), _EARLY, None, _EARLY, _EARLY], _DAY),  # noqa: DTZ001
    ([time(23, 59, 59), time(0), None, time(12), time(1)], _TIME),
    ([True, False, None, True, True], None),
    ([1, "text", True, 2.5, "x\ny"], None),
    ([_LATE, "text", 7, None, timedelta(hours=30)], _AT),
    (["=NA()", 1, 2, 3, None], None),
    (["none", "a", None, "none", "b"], None),
]
"""The cells of each column, and the format of its dates."""


def _book(times: int) -> bytes:
    data = io.BytesIO()
    book = xlsxwriter.Workbook(data, {"in_memory": True})
    sheet = book.add_worksheet("Data")
    forms = {text: book.add_format({"num_format": text}) for text in (_AT, _DAY, _TIME)}
    for place in range(times * len(_COLUMNS)):
        cells, form = _COLUMNS[place % len(_COLUMNS)]
        sheet.write_string(0, place, f"col {place}")
        for row, cell in enumerate(cells, start=1):
            if cell == "=NA()":
                sheet.write_formula(row, place, cell, None, "#N/A")
            elif isinstance(cell, datetime | time | timedelta):
                sheet.write_datetime(row, place, cell, forms[form] if form else None)
            elif cell is not None:
                sheet.write(row, place, cell)
    book.close()
    return data.getvalue()


@pytest.mark.parametrize(
    "given",
    [
        {},
        dict(
            enumerate(("text", "double", "decimal", "text", "date", "timestamp", "time", "boolean", "text"))
        ),
        {0: "boolean", 8: "integer", 9: "timestamp", 10: "integer", 11: "double"},
    ],
    ids=["inferred", "given", "not fitting"],
)
def test_wide_sheets_are_read_as_narrow_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, given: dict[int, str]
) -> None:
    def read(times: int) -> Any:
        places = {
            place + shift * len(_COLUMNS): kind for place, kind in given.items() for shift in range(times)
        }
        types = {f"col {place}": kind for place, kind in places.items()}
        return bench.extract(_book(times), "t.xlsx", types=types, null_texts=["none"])

    asked: list[bool] = []
    is_wide = wide.is_wide

    def noted(values: Sequence[str]) -> bool:
        asked.append(is_wide(values))
        return asked[-1]

    monkeypatch.setattr(wide, "is_wide", noted)
    narrow, broad = read(1), read(_TIMES)
    assert asked == [False, True]
    assert [column.type for column in broad.columns] == [column.type for column in narrow.columns] * _TIMES
    assert (broad.row_count, broad.bad_row_count) == (narrow.row_count, narrow.bad_row_count)
    assert bench.rows(broad) == [row * _TIMES for row in bench.rows(narrow)]
    assert broad.bad_cell_count == narrow.bad_cell_count * _TIMES
    assert sorted(map(_at_first, bench.bad(broad))) == sorted(bench.bad(narrow) * _TIMES)
    assert {path.name for path in (bench.folder / "staging2").iterdir()} == {
        "rows.parquet",
        "bad_rows.parquet",
    }


def _at_first(bad: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same of the first such column."""
    place = int(str(bad[3]).removeprefix("col ")) % len(_COLUMNS)
    return (*bad[:3], f"col {place}", *bad[4:])


def test_a_preview_of_a_wide_sheet_shows_its_rows(bench: Bench) -> None:
    path = bench.write(_book(_TIMES), "t.xlsx")
    shown = preview(bench.con, str(path), TableOptions(), rows=2, staging=str(bench.folder))
    assert len(shown.columns) == _TIMES * len(_COLUMNS)
    assert [row[8] for row in shown.rows] == ["1", "text"]
    assert [each.name for each in bench.folder.iterdir()] == ["t.xlsx"]


def test_many_columns_of_texts_need_little_memory(bench: Bench) -> None:
    """With dictionaries of the usual size it took more than 409 MiB."""
    bench.con.execute("SET memory_limit = '256MB'")
    data = io.BytesIO()
    book = xlsxwriter.Workbook(data, {"in_memory": True})
    sheet = book.add_worksheet("Data")
    for row in range(3):
        sheet.write_row(row, 0, [f"text {row} {place}" for place in range(1000)])
    book.close()
    read = bench.extract(data.getvalue(), "t.xlsx")
    assert (read.row_count, len(read.columns)) == (2, 1000)
