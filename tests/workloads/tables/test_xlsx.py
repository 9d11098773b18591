"""xlsx files become Parquet, with the values that openpyxl reads."""

# ruff: noqa: DTZ001  spreadsheets know no time zones
from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import openpyxl
import pytest
import xlsxwriter

from tests.workloads.tables.bench import Bench
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables import reading
from tidegate.workloads.tables.model import ColumnType, parse_options


def made(write: Callable[[Any, Any], Any], *, name: str = "Data", **options: Any) -> bytes:
    data = io.BytesIO()
    book = xlsxwriter.Workbook(data, options)
    write(book, book.add_worksheet(name))
    book.close()
    return data.getvalue()


def types(read: Any) -> dict[str, ColumnType]:
    return {column.name: column.type for column in read.columns}


def hand_made(rows: str, *, shared: str = "", more: str = "") -> bytes:
    """A workbook whose sheet holds this XML."""
    data = made(lambda _, sheet: sheet.write(0, 0, "a text, so that there are shared strings"), name="Sheet")
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            if part.filename == "xl/worksheets/sheet1.xml":
                xml = (
                    '<?xml version="1.0" encoding="UTF-8"?><worksheet '
                    'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
                    f"<sheetData>{rows}</sheetData>{more}</worksheet>"
                )
                new.writestr(part.filename, xml)
            elif part.filename != "xl/sharedStrings.xml":
                new.writestr(part.filename, old.read(part.filename))
        strings = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{shared}</sst>'
        )
        new.writestr("xl/sharedStrings.xml", strings)
    return out.getvalue()


def header(*names: str) -> str:
    cells = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in names)
    return f'<row r="1">{cells}</row>'


def test_types_are_those_of_the_cells(bench: Bench) -> None:
    def write(book: Any, sheet: Any) -> None:
        day, at = (
            book.add_format({"num_format": "yyyy-mm-dd"}),
            book.add_format({"num_format": "d/m/yy h:mm"}),
        )
        clock, long = (
            book.add_format({"num_format": "hh:mm:ss"}),
            book.add_format({"num_format": "[h]:mm:ss"}),
        )
        share = book.add_format({"num_format": "0.0%"})
        sheet.write_row(0, 0, ["id", "name", "day", "at", "clock", "long", "share", "ok"])
        for row in (1, 2):
            sheet.write_row(row, 0, [row, f"名前 {row}"])
            sheet.write_datetime(row, 2, datetime(2024, 2, 27 + row), day)
            sheet.write_datetime(row, 3, datetime(2024, 1, 2, 3, 4, 5, 678000), at)
            sheet.write_number(row, 4, 0.25, clock)
            sheet.write_number(row, 5, 1.5, long)
            sheet.write_number(row, 6, 0.05, share)
            sheet.write_boolean(row, 7, row == 1)

    read = bench.extract(made(write), "t.xlsx")
    assert list(types(read).values()) == [
        ColumnType.INTEGER, ColumnType.TEXT, ColumnType.DATE, ColumnType.TIMESTAMP,
        ColumnType.TIME, ColumnType.TEXT, ColumnType.DOUBLE, ColumnType.BOOLEAN,
    ]  # fmt: skip
    assert bench.rows(read)[0] == (
        1, "名前 1", date(2024, 2, 28), datetime(2024, 1, 2, 3, 4, 5, 678000), time(6), "36:00:00", 0.05, True,
    )  # fmt: skip


@pytest.mark.parametrize("from_1904", [False, True])
def test_days_are_counted_as_openpyxl_counts_them(bench: Bench, from_1904: bool) -> None:
    def write(book: Any, sheet: Any) -> None:
        day = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        sheet.write(0, 0, "day")
        for row, days in enumerate([1, 59, 61, 43960, 44000.75], start=1):
            sheet.write_number(row, 0, days, day)

    path = bench.write(made(write, date_1904=from_1904), "t.xlsx")
    read = bench.extract(path)
    cells = openpyxl.load_workbook(path)["Data"]["A"]
    assert [row[0] for row in bench.rows(read)] == [cell.value for cell in cells[1:]]


def test_an_error_is_null_and_kept_aside(bench: Bench) -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ["a", "b"])
        sheet.write_row(1, 0, [1, 10])
        sheet.write_formula(2, 0, "=NA()", None, "#N/A")
        sheet.write(2, 1, 20)

    read = bench.extract(made(write), "t.xlsx")
    assert types(read) == {"a": ColumnType.INTEGER, "b": ColumnType.INTEGER}
    assert bench.rows(read) == [(1, 10), (None, 20)]
    assert (read.bad_row_count, read.bad_cell_count) == (0, 1)
    assert bench.bad(read) == [
        ("t.xlsx", "Data", 3, "a", "#N/A", "cell_error", "The cell holds the error #N/A.", True)
    ]


def test_one_text_far_down_makes_a_column_text_and_no_digit_is_lost(bench: Bench) -> None:
    numbers = "".join(f'<row r="{n}"><c r="A{n}"><v>{n / 4}</v></c></row>' for n in range(2, 30_000))
    last = '<row r="30000"><c r="A30000" t="inlineStr"><is><t>none</t></is></c></row>'
    path = bench.write(hand_made(header("x") + numbers + last), "t.xlsx")
    read = bench.extract(path)
    assert types(read) == {"x": ColumnType.TEXT}
    rows = [row[0] for row in bench.rows(read)]
    assert rows[:3] == ["0.5", "0.75", "1"]
    assert rows[-1] == "none"
    given = bench.extract(path, types={"x": "double"})
    assert (given.row_count, given.bad_row_count) == (29_998, 1)
    assert bench.bad(given) == [
        (
            "t.xlsx",
            "Sheet",
            30_000,
            "x",
            "none",
            "wrong_type",
            "none is no double, the type given for the column.",
            False,
        )
    ]
    with pytest.raises(TaskError, match="1 of 29999 rows") as failed:
        bench.extract(path, types={"x": "double"}, max_bad_rows=0)
    assert failed.value.code == "too_many_bad_rows"


def test_integers_of_20_digits_stay_exact(bench: Bench) -> None:
    rows = '<row r="2"><c r="A2"><v>12345678901234567891</v></c><c r="B2"><v>5.0</v></c></row>'
    read = bench.extract(hand_made(header("big", "five") + rows), "t.xlsx")
    assert types(read) == {"big": ColumnType.DECIMAL, "five": ColumnType.INTEGER}
    assert [tuple(map(int, row)) for row in bench.rows(read)] == [(12345678901234567891, 5)]


def test_titles_empty_rows_and_merged_headers(bench: Bench) -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write(1, 0, "Report of 2024")
        sheet.merge_range(3, 1, 3, 2, "amount")
        sheet.write(3, 0, "name")
        sheet.write(3, 3, "name")
        sheet.write_row(5, 0, ["a", 1, 2.5, "x"])
        sheet.write(6, 4, "beyond")

    read = bench.extract(made(write), "t.xlsx")
    assert read.header_row == 4
    assert [column.name for column in read.columns] == ["name", "amount", "amount_2", "name_2", "column_5"]
    assert bench.rows(read) == [("a", 1, 2.5, "x", None), (None, None, None, None, "beyond")]


def test_texts_of_every_form(bench: Bench) -> None:
    shared = (
        "<si><t>plain &amp; &#x41;</t></si><si><r><t>ri</t></r><r><t>ch</t></r><rPh sb='0' eb='1'><t>spoken</t></rPh></si>"
        '<si><t xml:space="preserve"> two\nlines_x000D_ </t></si>'
    )
    cells = "".join(f'<row r="{n + 2}"><c r="A{n + 2}" t="s"><v>{n}</v></c></row>' for n in range(3))
    own = '<row r="5"><c r="A5" t="str"><f>"a"&amp;"b"</f><v>a &lt; b</v></c></row>'
    cdata = '<row r="6"><c r="A6" t="inlineStr"><is><t><![CDATA[<c r="A1">]]></t></is></c></row>'
    for more in ("", cdata):
        read = bench.extract(hand_made(header("x") + cells + own + more, shared=shared), "t.xlsx")
        texts = [row[0] for row in bench.rows(read)]
        assert texts[:4] == ["plain & A", "rich", " two\nlines\r ", "a < b"]
        assert texts[4:] == (['<c r="A1">'] if more else [])


def test_sheets_are_chosen_by_name_place_or_sight(bench: Bench) -> None:
    book = openpyxl.Workbook()
    for number, name in enumerate(["hidden", "first", "second"]):
        sheet = book.active if number == 0 else book.create_sheet()
        assert sheet is not None
        sheet.title = name
        sheet.append(["of"])
        sheet.append([name])
    book["hidden"].sheet_state = "hidden"
    book.active = 1
    path = bench.folder / "t.xlsx"
    book.save(path)
    assert [(sheet.name, sheet.visible) for sheet in reading.sheets(str(path))] == [
        ("hidden", False), ("first", True), ("second", True),
    ]  # fmt: skip
    assert bench.rows(bench.extract(path)) == [("first",)]
    assert bench.rows(bench.extract(path, sheet="hidden")) == [("hidden",)]
    assert bench.rows(bench.extract(path, sheet=3)) == [("second",)]
    with pytest.raises(TaskError, match="no sheet 'x'"):
        bench.extract(path, sheet="x")


def test_a_preview_shows_types_and_first_rows(bench: Bench) -> None:
    rows = "".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c></row>' for n in range(2, 500))
    path = bench.write(hand_made(header("n") + rows), "t.xlsx")
    shown = reading.preview(bench.con, str(path), parse_options({}), rows=2, staging=str(bench.folder))
    assert shown.rows == ((2,), (3,))
    assert shown.columns[0].type is ColumnType.INTEGER
    assert [path.name for path in bench.folder.iterdir()] == ["t.xlsx"]


def _truncated() -> bytes:
    whole = hand_made(header("x"))
    return whole[: len(whole) // 2]


def _bomb() -> bytes:
    data = io.BytesIO(hand_made(header("x")))
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("xl/bomb.xml", b"0" * (80 * 2**20))
    return data.getvalue()


def _twice() -> bytes:
    data = io.BytesIO(hand_made(header("x")))
    with zipfile.ZipFile(data, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("xl/workbook.xml", b"<workbook/>")
    return data.getvalue()


def _entities() -> bytes:
    data = io.BytesIO(hand_made(header("x")))
    out = io.BytesIO()
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.infolist():
            body = old.read(part.filename)
            if part.filename == "xl/worksheets/sheet1.xml":
                body = body.replace(b"<worksheet", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet', 1)
            new.writestr(part.filename, body)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"a,b\n1,2\n", "not_a_workbook"),
        (_truncated(), "corrupt_file"),
        (_bomb(), "archive_bomb"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted_file"),
        (_twice(), "corrupt_file"),
        (_entities(), "corrupt_file"),
        (hand_made(""), "no_rows"),
        (hand_made('<row r="2"><c r="A2"><v>1</c></row>'), "corrupt_file"),
        (hand_made('<row r="2"><c r="A2" t="s"><v>7</v></c></row>'), "corrupt_file"),
        (hand_made('<row r="2"><c r="XFE2"><v>7</v></c></row>'), "corrupt_file"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_words(bench: Bench, data: bytes, code: str) -> None:
    with pytest.raises(TaskError) as failed:
        bench.extract(data, "t.xlsx")
    assert failed.value.code == code
    assert not list((bench.folder / "staging1").iterdir())
