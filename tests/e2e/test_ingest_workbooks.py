"""Workbooks, bad files and Excel files as sources, the whole way."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import xlsxwriter

from tests.e2e.ingesting import House


def _workbook(sheets: Mapping[str, list[list[Any]]]) -> bytes:
    """A workbook of these sheets, the first row of each its header."""
    made = io.BytesIO()
    with xlsxwriter.Workbook(made) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for at, row in enumerate(rows):
                sheet.write_row(at, 0, row)
    return made.getvalue()


def _bomb() -> bytes:
    """A workbook whose sheet unpacks to a thousand times its size."""
    made = io.BytesIO(_workbook({"A": [["n"], [1]]}))
    with (
        zipfile.ZipFile(made) as small,
        zipfile.ZipFile(bomb := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as large,
    ):
        for name in small.namelist():
            if name != "xl/worksheets/sheet1.xml":
                large.writestr(name, small.read(name))
        with large.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(b"<worksheet>")
            for _ in range(128):
                sheet.write(bytes(2**20))
    return bomb.getvalue()


def _archive() -> bytes:
    with zipfile.ZipFile(made := io.BytesIO(), "w") as archive:
        archive.writestr("notes.txt", "no workbook")
    return made.getvalue()


def _encrypted() -> bytes:
    """What an office program writes when there is a password: an OLE file with such a stream."""
    return (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(2000)
        + "EncryptedPackage".encode("utf-16-le")
        + bytes(600)
    )


BAD: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "nothing.csv": (lambda: b"", "empty_file"),
    "nothing.xlsx": (lambda: b"", "empty_file"),
    "text.xlsx": (lambda: b"just some text\nnothing else\n", "not_a_workbook"),
    "cut.xlsx": (lambda: _workbook({"A": [["n"], [1]]})[:-500], "corrupt_file"),
    "bomb.xlsx": (_bomb, "archive_bomb"),
    "locked.xlsx": (_encrypted, "encrypted_file"),
    "cut.ods": (lambda: _workbook({"A": [["n"], [1]]})[:-500], "corrupt_file"),
    "zipped.xlsx": (_archive, "not_a_workbook"),
    "ragged.csv": (lambda: b"a,b\n" + b"1,2\n" * 1500 + b"1,2,3\n" * 1500, "too_many_bad_rows"),
    "bytes.csv": (lambda: bytes(range(256)) * 40, ""),
}


def test_a_bad_file_says_what_is_wrong_and_the_others_load(house: House) -> None:
    files = [house.file(name, made()) for name, (made, _) in BAD.items()]
    good = house.file("good.csv", "a\n1\n")
    job = house.ingest(*files, good, into=f"sqlite:///{house.folder}/mixed.db", table="{file}_t")
    tasks = house.tasks(job)
    assert job["job_status"] == "FAILED"
    assert job["result"]["inserted"] == 1
    assert tasks["good.csv"]["state"] == "succeeded"
    for name, (_, code) in BAD.items():
        why = tasks[name]["exit"]
        assert tasks[name]["state"] == "failed", name
        assert name in why["message"], why
        assert why["code"] == code or (not code and why["code"] not in ("exception", "internal")), (name, why)
    with sqlite3.connect(house.folder / "mixed.db") as db:
        names = [
            row[0] for row in db.execute("select name from sqlite_master where name like '%\\_t' escape '\\'")
        ]
    assert names == ["good_t"]


def test_rows_that_cannot_be_taken_are_kept_beside_with_their_place(house: House) -> None:
    ragged = house.file("ragged.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n")
    job = house.ingest(ragged, table="ragged")
    assert (job["job_status"], job["result"]["inserted"], job["result"]["bad_rows"]) == ("SUCCEEDED", 2, 2), (
        job
    )
    assert house.rows("select a, b from ragged order by a") == [[1, 2], [7, 8]]
    bad = house.rows(f"select file, row, code from {job['result']['bad_rows_table']} order by row")
    assert bad == [["ragged.csv", 3, "too_few_columns"], ["ragged.csv", 4, "too_many_columns"]]
    assert house.ingest(ragged, table="ragged")["result"]["unchanged"] is True
    strict = house.ingest(ragged, table="strict", max_bad_rows=1)
    assert (strict["job_status"], strict["exit"]["code"]) == ("FAILED", "too_many_bad_rows")

    into = f"sqlite:///{house.folder}/ragged.db"
    assert house.ingest(ragged, into=into, table="ragged")["result"]["bad_rows"] == 2
    with sqlite3.connect(house.folder / "ragged.db") as db:
        assert db.execute('select "row", code from ragged_bad_rows order by 1').fetchall() == [
            (3, "too_few_columns"),
            (4, "too_many_columns"),
        ]


def test_a_text_in_another_encoding_is_read_or_told(house: House) -> None:
    latin = house.file("latin.csv", "city\nKöln\nMünchen\n".encode("latin-1"))
    assert house.ingest(latin, table="latin")["job_status"] == "SUCCEEDED"
    assert house.rows("select city from latin order by city") == [["Köln"], ["München"]]
    told = house.ingest(latin, table="latin_8", encoding="utf-8", max_bad_rows=0)
    assert told["job_status"] == "FAILED"
    assert told["exit"]["code"] in ("too_many_bad_rows", "not_text", "bad_encoding"), told["exit"]


def test_what_a_type_cannot_hold_is_kept_beside_a_source(house: House) -> None:
    path = house.file("typed.xlsx", _workbook({"A": [["n", "t"], [1, "a"], ["many", "b"]]}))
    job = house.ingest(path, table="typed", types={"n": "integer"})
    assert (job["job_status"], job["result"]["bad_rows_table"]) == ("SUCCEEDED", "typed_bad_rows"), job
    kept = house.rows('select file, sheet, "row", "column", value, code from typed_bad_rows')
    assert kept == [["typed.xlsx", "A", 3, "n", "many", "wrong_type"]]
    assert house.rows("select count(n) from typed") == [[1]]
    assert house.ingest(path, table="typed", types={"n": "integer"})["result"]["unchanged"] is True
    assert house.rows("select count(*) from typed_bad_rows") == [[1]]


def test_a_workbook_becomes_tables_and_a_source(house: House) -> None:
    path = str(house.folder / "book.xlsx")
    head = ["n", "t"]
    house.file(
        "book.xlsx", _workbook({"Jan": [head, [1, "x"]], "Feb": [head, [2, "y"], [3, "z"]], "Empty": []})
    )
    job = house.ingest(path, sheets="all", into=f"sqlite:///{house.folder}/book.db", table="{sheet}")
    assert (job["job_status"], job["result"]["loads"], job["result"]["tables"]) == (
        "SUCCEEDED",
        2,
        ["Feb", "Jan"],
    ), job
    with sqlite3.connect(house.folder / "book.db") as db:
        assert db.execute("select n, t from Feb order by n").fetchall() == [(2, "y"), (3, "z")]

    made = house.http.post("/api/v1/sources", json={"name": "book", "path": path, "sheet": "Feb"})
    assert made.status_code == 201, made.text
    assert (made.json()["format"], made.json()["managed"], made.json()["lineage"]) == (
        "parquet",
        True,
        [path],
    )
    assert house.rows("select n, t from book order by n") == [[2, "y"], [3, "z"]]
    with open(path, "rb") as content:
        answer = house.http.put("/api/v1/files/up.xlsx", content=content.read(), params={"sheet": "Jan"})
    assert answer.json()["source"]["row_count"] == 1, answer.text


@pytest.mark.parametrize("format", ["xlsx", "arrow"])
def test_a_source_comes_as_a_file_of_another_kind_and_goes_back(house: House, format: str) -> None:
    table = f"wide_{format}"
    house.ingest(
        house.file("wide.csv", "i,d,t\n1,2026-01-31,Grüße\n,,\n12345678901234567,2026-02-28,x\n"), table=table
    )
    answer = house.http.get(f"/api/v1/sources/{table}/download", params={"format": format})
    assert answer.status_code == 200, answer.text
    assert f'filename="{table}.{format}"' in answer.headers["content-disposition"]
    file = house.file(f"wide.{format}", answer.content)
    back = house.http.post("/api/v1/sources", json={"name": f"back_{format}", "path": file})
    assert back.status_code == 201, back.text
    found = house.rows(
        f"select i::varchar, d::date::varchar, t from back_{format} where t is not null order by t desc"
    )
    assert found == [["12345678901234567", "2026-02-28", "x"], ["1", "2026-01-31", "Grüße"]]
