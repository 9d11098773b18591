"""Awkward workbooks have the values that openpyxl reads, and what writers wrote."""

# ruff: noqa: DTZ001  spreadsheets know no time zones
from __future__ import annotations

import io
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
import pytest
import xlsxwriter
import xlwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workloads.tables.bench import Bench
from tests.workloads.tables.test_xlsx import hand_made, header
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables import reading
from tidegate.workloads.tables.model import ColumnType
from tidegate.workloads.tables.sizing import open_archive
from tidegate.workloads.tables.xlsx_text import shared_strings

FORMATS = [
    "General", "@", "0.00%", "[Red]0.0", '"d"0', '0 "days"', "\\d0", "[<100]0;d", "_-* #,##0.00_-", "[$€-2] #,##0",
    "dd-mmm", "[$-409]mmm d, yyyy", 'yyyy"年"m"月"', "mm:ss.0", "h:mm AM/PM", "[$-F800]dddd", "s", "[h]:mm", "# ?/?",
]  # fmt: skip
SERIALS = [
    0,
    0.25,
    0.99999,
    1,
    1.5,
    2,
    59,
    59.75,
    60,
    60.5,
    61,
    36526.123456789,
    43831.5000000001,
    2_900_000.5,
]


def of_openpyxl(value: Any) -> Any:
    """As a column of one kind gives it."""
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return value


@pytest.mark.parametrize("from_1904", [False, True])
def test_every_date_and_format_is_read_as_by_openpyxl(bench: Bench, from_1904: bool) -> None:
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path), {"date_1904": from_1904}) as book:
        sheet = book.add_worksheet()
        for column, code in enumerate(FORMATS):
            sheet.write_number(0, column, 44000.5, book.add_format({"num_format": code}))
        day = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        for column, serial in enumerate(SERIALS, start=len(FORMATS)):
            sheet.write_number(0, column, serial, day)
    wanted = [of_openpyxl(cell.value) for cell in openpyxl.load_workbook(path).worksheets[0][1]]
    found = list(bench.rows(bench.extract(path, header="none"))[0])
    as_dates = [datetime.combine(v, time()) if type(v) is date else v for v in found]
    assert as_dates == wanted


def test_the_end_of_a_day_is_not_its_beginning_and_no_year_has_five_digits(bench: Bench) -> None:
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path), {"date_1904": True}) as book:
        sheet = book.add_worksheet()
        clock, day = (book.add_format({"num_format": code}) for code in ("hh:mm:ss", "yyyy-mm-dd"))
        sheet.write_row(0, 0, ["clock", "day"])
        sheet.write_row(1, 0, [0.999999999], clock)
        sheet.write_row(1, 1, [2_958_000], day)
    read = bench.extract(path)
    assert bench.rows(read) == [(time(23, 59, 59, 999000), None)]
    assert [row[3:6] for row in bench.bad(read)] == [("day", "2958000", "bad_value")]


def test_texts_formulas_and_numbers_are_read_as_by_openpyxl(bench: Bench) -> None:
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        texts = [
            "x" * 32_767,
            "12345678901234567890",
            "0012",
            " lead  ",
            "😀é中",
            "#N/A",
            "TRUE",
            "'b",
            "\x85\u2028",
        ]
        sheet.write_row(0, 0, ["_"])
        for column, text in enumerate(texts):
            sheet.write_string(1, column, text)
        sheet.write_rich_string(1, 10, "a", book.add_format({"bold": 1}), "b", " c ")
        sheet.write_formula(1, 11, "=1+1", None, 2)
        sheet.write_formula(1, 12, "=A1", None, "txt & <x>")
        sheet.write_formula(1, 13, "=TRUE()", None, True)
        sheet.write_url(1, 14, "http://example.test/", string="link")
        for column, number in enumerate([1e300, 123456789.123456789, 1e15, 0.1 + 0.2, 2**53], start=15):
            sheet.write_number(1, column, number)
        sheet.write_boolean(1, 20, False)
        sheet.merge_range(1, 21, 3, 23, "merged")
    wanted = [cell.value for cell in openpyxl.load_workbook(path, data_only=True).worksheets[0][2]]
    found = bench.rows(bench.extract(path, header="none", skip_rows=1))
    assert list(found[0]) == [value for value in wanted if value is not None]
    assert len(found) == 1


def test_a_sheet_as_wide_and_long_as_sheets_can_be(bench: Bench) -> None:
    book = openpyxl.Workbook(write_only=False)
    sheet = book.worksheets[0]
    values: dict[str, Any] = {"A1": "first", "XFD1": "last", "B2": "x", "A1048576": 5, "XFD500000": 7}
    for place, value in values.items():
        sheet[place] = value
    path = bench.folder / "t.xlsx"
    book.save(path)
    read = bench.extract(path)
    assert [column.name for column in read.columns] == ["first", "column_2", "last"]
    assert bench.rows(read) == [(None, "x", None), (None, None, 7), (5, None, None)]


def test_rows_of_300_columns_keep_types_and_null_texts(bench: Bench) -> None:
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, [f"n{place}" for place in range(1200)])
        sheet.write_row(1, 0, ["-" if place == 7 else place / 4 for place in range(300)])
        sheet.write_row(2, 0, ["line\nline", 2, *range(2, 300)])
    read = bench.extract(path, null_texts=["-"])
    first, second = bench.rows(read)
    assert (len(read.columns), read.columns[1].type, read.columns[4].type) == (
        1200,
        ColumnType.DOUBLE,
        ColumnType.INTEGER,
    )
    assert (first[:3], first[7], first[299], first[300]) == (("0", 0.25, 0.5), None, 74.75, None)
    assert second[:2] == ("line\nline", 2.0)


def test_three_thousand_filled_columns(bench: Bench) -> None:
    """Planned as a whole they once took minutes: a test ends within one."""
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        for place in range(3000):
            sheet.write_string(0, place, f"n{place}")
            sheet.write(1, place, (place, place + 0.5, f"text {place}")[place % 3])
    row = bench.rows(bench.extract(path))[0]
    assert row[2997:] == (2997, 2998.5, "text 2999")
    assert len(row) == 3000


def test_a_header_without_rows_is_a_table_without_rows(bench: Bench) -> None:
    read = bench.extract(hand_made(header("a", "b")), "t.xlsx")
    assert [column.name for column in read.columns] == ["a", "b"]
    assert (read.row_count, bench.rows(read)) == (0, [])


def test_a_negative_shared_string_is_damage(bench: Bench) -> None:
    rows = '<row r="2"><c r="A2" t="s"><v>-1</v></c></row>'
    with pytest.raises(TaskError, match="shared string '-1'"):
        bench.extract(hand_made(header("a") + rows, shared="<si><t>x</t></si>"), "t.xlsx")


def test_a_row_without_cells_or_number_does_not_take_the_next_ones(bench: Bench) -> None:
    rows = '<row r="3"/><row><c r="A4" t="e"><v>#N/A</v></c></row><row r="5"><c r="A5"><v>1</v></c></row>'
    read = bench.extract(hand_made(header("a") + rows), "t.xlsx")
    assert [row[2] for row in bench.bad(read)] == [4]


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(-1e300, 1e300)
    .map(lambda value: float(f"{value:.14e}"))
    .filter(lambda value: abs(value) > 1e-300),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff\0"), min_size=1, max_size=30
    ),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(CELLS, min_size=1, max_size=8))
def test_what_xlsxwriter_writes_comes_back(bench: Bench, values: list[Any]) -> None:
    """Each value in a column of its own, so that none changes its type; xlsxwriter writes numbers with 16 digits."""
    data = io.BytesIO()
    with xlsxwriter.Workbook(data, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        sheet = book.add_worksheet()
        for column, value in enumerate(["first", *values]):
            if value is not None:
                sheet.write(0, column, value)
    found = bench.rows(bench.extract(data.getvalue(), "t.xlsx", header="none"))
    assert list(found[0][1:]) == [value for value in values if value is not None]


def test_shared_strings_that_spill_are_the_same(bench: Bench) -> None:
    texts = [f"text {n} \n 名" for n in range(70_000)] + ["a\x1fb"]
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        for row, text in enumerate(texts):
            sheet.write_string(row, 0, text)
    with open_archive(str(path)) as archive:
        part = "xl/sharedStrings.xml"
        kept = shared_strings(archive, part, "")
        spilled = shared_strings(archive, part, str(bench.folder / "spill"), in_memory_bytes=1)
    assert [spilled[n] for n in range(len(texts))] == [kept[n] for n in range(len(texts))]
    with pytest.raises(IndexError):
        spilled[len(texts)]
    assert [found.name for found in bench.folder.iterdir()] == ["t.xlsx"]


def test_a_workbook_of_excel_97(bench: Bench) -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("Data")
    book.add_sheet("hidden").visibility = 1
    rows = [
        ("ü名\nx", date(1900, 1, 1), datetime(2024, 1, 2, 3, 4, 5), True, time(1, 2, 3), 0.1, 7),
        ("b", date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 6), False, time(0), 5e-3, 8),
    ]
    styles = {1: "yyyy-mm-dd", 2: "yyyy-mm-dd hh:mm:ss", 4: "hh:mm:ss", 5: "0.0%"}
    for column, name in enumerate(["name", "day", "at", "ok", "time", "share", 2023]):
        sheet.write(4, 2 + column, name)
    for row, values in enumerate(rows, start=5):
        for column, value in enumerate(values):
            style = xlwt.easyxf(num_format_str=styles.get(column, "General"))
            sheet.write(row, 2 + column, value, style)
    path = bench.folder / "t.xls"
    book.save(str(path))
    read = bench.extract(path)
    assert read.header_row == 5
    assert [column.name for column in read.columns] == ["name", "day", "at", "ok", "time", "share", "2023"]
    assert bench.rows(read) == rows
    assert [(sheet.name, sheet.visible) for sheet in reading.sheets(str(path))] == [
        ("Data", True),
        ("hidden", False),
    ]
