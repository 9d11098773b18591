"""Workbooks of other kinds than xlsx: the same values as from the same table in xlsx, and errors kept."""

# ruff: noqa: DTZ001  spreadsheets know no time zones
from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any

import openpyxl
import pytest
import xlsxwriter
import xlwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odf.opendocument import OpenDocumentSpreadsheet
from odf.table import Table, TableCell, TableRow
from odf.text import P

from tests.workloads.tables.bench import Bench
from tests.workloads.tables.biff12 import Error, Formula, Sheet, Styled, workbook
from tests.workloads.tables.test_xlsx import hand_made, header
from tidegate.core.resources import MIB
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables import reading
from tidegate.workloads.tables.model import ColumnType, TableOptions
from tidegate.workloads.tables.sizing import estimate

FORMATS = ["General", "yyyy-mm-dd", "0.00%", "[h]:mm:ss", "hh:mm"]
SERIALS = [0.25, 1, 59, 59.75, 60.5, 61, 44000, 44000.5, 43831.5000000001]


@pytest.mark.parametrize("from_1904", [False, True])
def test_xlsb_has_the_values_that_openpyxl_reads_of_the_same_xlsx(bench: Bench, from_1904: bool) -> None:
    """Whole days too, which are written as whole numbers with the style of a date."""
    path = bench.folder / "t.xlsx"
    with xlsxwriter.Workbook(str(path), {"date_1904": from_1904}) as book:
        day = book.add_format({"num_format": FORMATS[1]})
        sheet = book.add_worksheet("Data")
        for column, serial in enumerate(SERIALS):
            sheet.write_number(0, column, serial, day)
    wanted = [cell.value for cell in openpyxl.load_workbook(path).worksheets[0][1]]
    data = workbook([Sheet("Data", [[Styled(s, 1) for s in SERIALS]])], FORMATS, from_1904=from_1904)
    found = bench.rows(bench.extract(data, "t.xlsb", header="none"))[0]
    assert [datetime.combine(v, time()) if type(v) is date else v for v in found] == wanted


def test_xlsb_cells_of_every_kind(bench: Bench) -> None:
    rows: list[list[Any]] = [
        ["n", "text", "share", "ok", "elapsed"],
        [1, "größe", Styled(0.5, 2), True, Styled(1.5, 3)],
        [-(2**29) - 1, b"in the cell\n", Styled(12.34, 2), False, Styled(0.25, 3)],
        [Formula(3.0), Formula("of a formula"), Formula(1e300), Formula(True)],
        [123456789012.0, "größe"],
    ]
    read = bench.extract(workbook([Sheet("Data", rows, first_row=3)], FORMATS), "t.xlsb")
    assert read.header_row == 4
    assert [column.type for column in read.columns] == [
        ColumnType.INTEGER, ColumnType.TEXT, ColumnType.DOUBLE, ColumnType.BOOLEAN, ColumnType.TEXT,
    ]  # fmt: skip
    assert bench.rows(read) == [
        (1, "größe", 0.5, True, "36:00:00"),
        (-(2**29) - 1, "in the cell\n", 12.34, False, "6:00:00"),
        (3, "of a formula", 1e300, True, None),
        (123456789012, "größe", None, None, None),
    ]


def test_xlsb_sheets_are_chosen_as_those_of_xlsx(bench: Bench) -> None:
    data = workbook(
        [
            Sheet("hidden", [["h"], [1]], visible=False),
            Sheet("empty", []),
            Sheet("first", [["a", None], ["x", "y"], [1, 2]], merged=[(0, 0, 0, 1)]),
            Sheet("second", [["b"], [2]]),
        ]
    )
    path = bench.write(data, "t.xlsb")
    assert [(sheet.name, sheet.visible) for sheet in reading.sheets(str(path))] == [
        ("hidden", False), ("empty", True), ("first", True), ("second", True),
    ]  # fmt: skip
    read = bench.extract(path, header=1)
    assert [column.name for column in read.columns] == ["a", "a_2"]
    assert bench.rows(bench.extract(path, sheet="second")) == [(2,)]
    assert bench.rows(bench.extract(path, sheet=1)) == [(1,)]
    assert estimate(str(path), TableOptions()).reader == "xlsb"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_xlsb_is_told_or_read_but_never_breaks(bench: Bench, data: st.DataObject) -> None:
    whole = workbook([Sheet("Data", [["a", "b"], [1, "x"], [Formula(Error("#N/A")), 2.5]])])
    parts = {}
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from([name for name in parts if name.endswith(".bin")]))
    place = data.draw(st.integers(0, len(parts[name]) - 1))
    body = parts[name]
    parts[name] = data.draw(
        st.sampled_from(
            [body[:place], body[:place] + b"\xff" + body[place + 1 :], body[:place] + body[place + 1 :]]
        )
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    with suppress(TaskError):
        bench.extract(out.getvalue(), "t.xlsb")


def _xlsb_with_errors() -> bytes:
    rows: list[list[Any]] = [["n", "t"], [1, Error("#N/A")], [Formula(Error("#DIV/0!")), "x"], [3, "y"]]
    return workbook([Sheet("Other", [["a"]]), Sheet("Data", rows)])


def _xls_with_errors(filling: int = 0) -> bytes:
    book = xlwt.Workbook()
    book.add_sheet("Other").write(0, 0, "a")
    sheet = book.add_sheet("Data")
    rows: list[list[Any]] = [["n", "t"], [1, None], [None, "x"], [3, "y"]]
    for row, cells in enumerate(rows):
        for column, value in enumerate(cells):
            if value is not None:
                sheet.write(row, column, value)
    sheet.row(1).set_cell_error(1, 0x2A)
    sheet.row(2).set_cell_error(0, 0x07)
    for row in range(4, 4 + filling):
        sheet.write(row, 0, row)
        sheet.write(row, 1, f"text {row}")
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def _ods_with_errors() -> bytes:
    """As LibreOffice writes them, and as a number with the error beside it."""
    rows = (
        _ods_row(_ods_text("n"), _ods_text("t")),
        _ods_row(
            '<table:table-cell office:value-type="float" office:value="1"/>',
            '<table:table-cell table:formula="of:=NA()" office:value-type="string" office:string-value="" '
            'calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>',
        ),
        _ods_row(
            '<table:table-cell table:formula="of:=1/0" office:value-type="float" office:value="0">'
            "<text:p>#DIV/0!</text:p></table:table-cell>",
            _ods_text("x"),
        ),
        _ods_row('<table:table-cell office:value-type="float" office:value="3"/>', _ods_text("y")),
    )
    return _ods(
        f'<table:table table:name="Other"/><table:table table:name="Data">{"".join(rows)}</table:table>'
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [("t.xlsb", _xlsb_with_errors), ("t.xls", _xls_with_errors), ("t.ods", _ods_with_errors)],
)
def test_errors_are_kept_with_their_place(bench: Bench, name: str, made: Callable[[], bytes]) -> None:
    read = bench.extract(made(), name, sheet="Data")
    assert bench.rows(read) == [(1, None), (None, "x"), (3, "y")]
    assert read.bad_cell_count == 2
    assert [(row[1], row[2], row[3], row[4], row[5], row[7]) for row in bench.bad(read)] == [
        ("Data", 2, "t", "#N/A", "cell_error", True),
        ("Data", 3, "n", "#DIV/0!", "cell_error", True),
    ]


def test_errors_of_an_xls_file_of_many_sectors(bench: Bench) -> None:
    read = bench.extract(_xls_with_errors(20_000), "t.xls", sheet="Data")
    assert (read.row_count, read.bad_cell_count) == (20_003, 2)


def test_xls_that_is_cut_short_is_told(bench: Bench) -> None:
    whole = _xls_with_errors(2000)
    for end in (600, 5000, len(whole) // 2):
        with pytest.raises(TaskError) as failed:
            bench.extract(whole[:end], "t.xls", sheet="Data")
        assert failed.value.code == "corrupt_file"


def test_ods_made_by_odfpy(bench: Bench) -> None:
    book = OpenDocumentSpreadsheet()
    table = Table(name="Größen")
    rows: list[list[Any]] = [["name", "n", "day"], ["ann", 1.5, "2024-02-29"], ["bob", 2, "2024-03-01"]]
    for cells in rows:
        row = TableRow()
        for value in cells:
            row.addElement(_odf_cell(value))
        table.addElement(row)
    book.spreadsheet.addElement(table)
    path = bench.folder / "t.ods"
    book.save(str(path))
    read = bench.extract(path)
    assert [column.type for column in read.columns] == [ColumnType.TEXT, ColumnType.DOUBLE, ColumnType.DATE]
    assert bench.rows(read) == [("ann", 1.5, date(2024, 2, 29)), ("bob", 2.0, date(2024, 3, 1))]
    assert [sheet.name for sheet in reading.sheets(str(path))] == ["Größen"]


def _odf_cell(value: Any) -> Any:
    if isinstance(value, float | int):
        return TableCell(valuetype="float", value=value)
    if value[:2] == "20":
        return TableCell(valuetype="date", datevalue=value)
    made = TableCell(valuetype="string")
    made.addElement(P(text=value))
    return made


def test_ods_texts_times_repeats_and_notes(bench: Bench) -> None:
    note = "<office:annotation><text:p>a note</text:p></office:annotation>"
    text = (
        f'<table:table-cell office:value-type="string">{note}<text:p> <text:a>two</text:a>  words<text:s text:c="3"/>'
        "<text:tab/><text:span>and</text:span><text:line-break/>more</text:p><text:p>below</text:p></table:table-cell>"
    )
    rows = (
        _ods_row(*map(_ods_text, ("text", "clock", "long", "ok", "at"))),
        '<table:table-row table:number-rows-repeated="2"><table:table-cell/></table:table-row>',
        _ods_row(
            text,
            '<table:table-cell office:value-type="time" office:time-value="PT10H11M12S"/>',
            '<table:table-cell office:value-type="time" office:time-value="PT26H03M04S"/>',
            '<table:table-cell office:value-type="boolean" office:boolean-value="true"/>',
            '<table:table-cell office:value-type="date" office:date-value="2024-02-29T10:11:12.5"/>',
        ),
        '<table:table-row-group><table:table-row table:number-rows-repeated="2">'
        f'{_ods_text("again")}<table:table-cell table:number-columns-repeated="2"/>'
        '<table:table-cell office:value-type="boolean" office:boolean-value="false"/></table:table-row>'
        "</table:table-row-group>",
        '<table:table-row table:number-rows-repeated="1048000"><table:table-cell '
        'table:number-columns-repeated="16384"/></table:table-row>',
    )
    read = bench.extract(_ods(f'<table:table table:name="Data">{"".join(rows)}</table:table>'), "t.ods")
    words = "two words   \tand\nmore\nbelow"
    assert bench.rows(read) == [
        (words, time(10, 11, 12), "26:03:04", True, datetime(2024, 2, 29, 10, 11, 12, 500000)),
        ("again", None, None, False, None),
        ("again", None, None, False, None),
    ]


def test_an_ods_cell_that_is_not_what_it_says_is_kept_aside(bench: Bench) -> None:
    rows = (
        _ods_row(_ods_text("n"), _ods_text("day")),
        _ods_row(
            '<table:table-cell office:value-type="float" office:value="12"/>',
            '<table:table-cell office:value-type="date" office:date-value="soon"/>',
        ),
        _ods_row(
            '<table:table-cell office:value-type="float" office:value="many"/>',
            '<table:table-cell office:value-type="date" office:date-value="2024-02-29"/>',
        ),
    )
    read = bench.extract(_ods(f'<table:table table:name="Data">{"".join(rows)}</table:table>'), "t.ods")
    assert bench.rows(read) == [(12, None), (None, date(2024, 2, 29))]
    assert [(row[2], row[3], row[5]) for row in bench.bad(read)] == [
        (2, "day", "bad_value"),
        (3, "n", "bad_value"),
    ]


def test_an_encrypted_ods_file_is_refused(bench: Bench) -> None:
    entry = '<manifest:file-entry manifest:full-path="content.xml"><manifest:encryption-data/></manifest:file-entry>'
    with pytest.raises(TaskError) as failed:
        bench.extract(_ods("", manifest=entry), "t.ods")
    assert failed.value.code == "encrypted_file"


@pytest.mark.parametrize("rows", [2, 60_000])
def test_the_rectangle_of_a_sparse_xls_is_in_its_estimate(bench: Bench, rows: int) -> None:
    """Small files lie in the compound file in another way than large ones."""
    book = xlwt.Workbook()
    book.add_sheet("Data").write(0, 0, "n")
    sheet = book.add_sheet("Sparse")
    for row in range(0, rows, 20):
        sheet.write(row, 0, row)
    sheet.write(rows - 1, 255, "far")
    path = bench.folder / "t.xls"
    book.save(str(path))
    plain = estimate(str(bench.write(b"n\n1\n", "t.csv")), TableOptions()).memory_bytes
    found = estimate(str(path), TableOptions()).memory_bytes
    rectangle = 2 * 32 * rows * 256
    assert 0 <= found - (plain - 32 * MIB) - rectangle < 4 * MIB


@pytest.mark.parametrize(("far", "columns"), [("", 2), ("far", 4003)])
def test_the_repeated_cells_of_an_ods_are_in_its_estimate(bench: Bench, far: str, columns: int) -> None:
    """Up to the last cell with a value: spreadsheet programs repeat an empty one to the end of the sheet."""
    row = _ods_row(
        _ods_text("a")
        + _ods_text("b")
        + '<table:table-cell table:number-columns-repeated="4000"/>'
        + (_ods_text(far) if far else "")
        + '<table:table-cell table:number-columns-repeated="12000"/>'
    )
    path = bench.write(_ods(f'<table:table table:name="Data">{row}</table:table>'), "t.ods")
    narrow = bench.write(_ods('<table:table table:name="Data"/>'), "narrow.ods")
    more = [estimate(str(file), TableOptions()).memory_bytes for file in (path, narrow)]
    assert more[0] - more[1] == max(0, columns - 256) * 420 * 1024


def _xlsx_with_an_empty_first_sheet() -> bytes:
    data = io.BytesIO()
    with xlsxwriter.Workbook(data) as book:
        book.add_worksheet("cover").write_blank(3, 3, None, book.add_format({"bold": True}))
        book.add_worksheet("Data").write_column(0, 0, ["n", 1])
    return data.getvalue()


def _xls_with_an_empty_first_sheet() -> bytes:
    book = xlwt.Workbook()
    book.add_sheet("cover")
    sheet = book.add_sheet("Data")
    sheet.write(0, 0, "n")
    sheet.write(1, 0, 1)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def _ods_with_an_empty_first_sheet() -> bytes:
    rows = _ods_row(_ods_text("n")) + _ods_row(
        '<table:table-cell office:value-type="float" office:value="1"/>'
    )
    return _ods(f'<table:table table:name="cover"/><table:table table:name="Data">{rows}</table:table>')


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("t.xlsx", _xlsx_with_an_empty_first_sheet),
        ("t.xlsb", lambda: workbook([Sheet("cover", [[None]]), Sheet("Data", [["n"], [1]])])),
        ("t.xls", _xls_with_an_empty_first_sheet),
        ("t.ods", _ods_with_an_empty_first_sheet),
    ],
)
def test_an_empty_first_sheet_is_passed_over(bench: Bench, name: str, made: Callable[[], bytes]) -> None:
    path = bench.write(made(), name)
    read = bench.extract(path)
    assert bench.rows(read) == [(1,)]
    assert read.facts == {"sheet": "Data"}
    shown = reading.preview(bench.con, str(path), TableOptions(), staging=str(bench.folder))
    assert shown.facts == {"sheet": "Data"}
    with pytest.raises(TaskError) as failed:
        bench.extract(path, sheet="cover")
    assert failed.value.code == "no_rows"


def test_a_workbook_without_any_cell_has_no_rows(bench: Bench) -> None:
    with pytest.raises(TaskError) as failed:
        bench.extract(hand_made(""), "t.xlsx")
    assert failed.value.code == "no_rows"
    assert bench.rows(bench.extract(hand_made(header("a")), "t.xlsx")) == []


_SPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
        "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
        "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
        "calcext": "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0",
    }.items()
)


def _ods_row(*cells: str) -> str:
    return f"<table:table-row>{''.join(cells)}</table:table-row>"


def _ods_text(text: str) -> str:
    return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'


def _ods(tables: str, *, manifest: str = "") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">{manifest}'
            "</manifest:manifest>",
        )
        archive.writestr(
            "content.xml",
            f"<office:document-content {_SPACES}><office:body><office:spreadsheet>{tables}</office:spreadsheet>"
            "</office:body></office:document-content>",
        )
    return data.getvalue()
