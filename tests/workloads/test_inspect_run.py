"""What registering finds in files, and what it says of files that are none."""

from __future__ import annotations

import gzip
import os
import random
import string
from typing import Any

import pytest

from tests.workloads.lab import Failed, Lab
from tidegate.core.resources import GIB, MIB


def columns(found: Any) -> list[tuple[str, str]]:
    return [(column["name"], column["type"]) for column in found["columns"]]


def test_a_csv_file_gets_its_dialect_and_types_pinned(lab: Lab) -> None:
    lab.write("a.csv", "id;when;name\n" + "".join(f"{n};2024-01-02 10:00:00;n{n}\n" for n in range(50)))
    found = lab.inspect("files/a.csv")
    assert columns(found) == [("id", "BIGINT"), ("when", "TIMESTAMP"), ("name", "VARCHAR")]
    assert found["format"] == "csv"
    assert found["row_count"] is None
    assert found["file_count"] == 1
    assert found["size_bytes"] == (lab.files / "a.csv").stat().st_size
    assert found["options"]["delim"] == ";"
    assert found["options"]["auto_detect"] is False


def test_quotes_that_the_sample_did_not_show_are_read_all_the_same(lab: Lab) -> None:
    rows = "".join(f"{n},plain\n" for n in range(300_000))
    lab.write("late.csv", "id,name\n" + rows + '300000,"a, ""quoted"" name"\n')
    lab.register("late", "files/late.csv")
    assert lab.rows("select name from late where id = 300000") == [['a, "quoted" name']]


def test_quotes_doubled_only_after_the_sample_are_read_all_the_same(lab: Lab) -> None:
    lab.write("late.csv", "id,name\n" + '1,"x, y"\n' * 250_000 + '2,"a ""b"""\n')
    lab.register("late", "files/late.csv", options={"sample_size": 1000})
    assert lab.rows("select name from late where id = 2") == [['a "b"']]


def test_small_files_are_judged_by_all_their_rows(lab: Lab) -> None:
    lab.write("mixed.csv", "x,y\n" + "1,1\n" * 100_000 + "n/a,1\n")
    assert columns(lab.inspect("files/mixed.csv")) == [("x", "VARCHAR"), ("y", "BIGINT")]


def test_types_and_header_can_be_given(lab: Lab) -> None:
    lab.write("zip.csv", "01234,a\n05678,b\n")
    found = lab.inspect("files/zip.csv", options={"header": False, "types": {"column0": "VARCHAR"}})
    assert columns(found) == [("column0", "VARCHAR"), ("column1", "VARCHAR")]
    lab.register("zip", "files/zip.csv", options={"header": False, "types": {"column0": "VARCHAR"}})
    assert lab.rows("select column0 from zip") == [["01234"], ["05678"]]


def test_windows_line_ends_and_tabs(lab: Lab) -> None:
    lab.write("w.tsv", "a\tb\r\n1\tx\r\n2\ty\r\n")
    lab.register("w", "files/w.tsv")
    assert lab.rows("from w") == [[1, "x"], [2, "y"]]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_read_when_named(lab: Lab, encoding: str) -> None:
    lab.write("e.csv", "a,b\n1,é\n".encode(encoding))
    lab.register("e", "files/e.csv", options={"encoding": encoding})
    assert lab.rows("from e") == [[1, "é"]]


def test_text_that_is_not_utf8_is_refused_with_what_to_do(lab: Lab) -> None:
    lab.write("e.csv", "a,b\n1,é\n".encode("latin-1"))
    with pytest.raises(Failed, match="encoding") as failed:
        lab.inspect("files/e.csv")
    assert failed.value.code == "corrupt_file"


def test_compressed_csv(lab: Lab) -> None:
    lab.write("a.csv.gz", gzip.compress(b"a,b\n1,2\n"))
    lab.register("packed", "files/a.csv.gz")
    assert lab.rows("from packed") == [[1, 2]]


@pytest.mark.parametrize("data", [b"a,b\n1,2\n", gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)[:-9], b""])
def test_broken_gzip_is_refused(lab: Lab, data: bytes) -> None:
    lab.write("a.csv.gz", data)
    with pytest.raises(Failed) as failed:
        lab.inspect("files/a.csv.gz")
    assert failed.value.code in ("corrupt_file", "empty_file")
    assert "a.csv.gz" in failed.value.message


def test_json_lines_and_arrays(lab: Lab) -> None:
    lab.write("a.jsonl", '{"a": 1, "b": {"c": "x"}}\n{"a": 2.5, "d": [1]}\n')
    lab.write("b.json", '[{"a": 1}, {"a": 2}]')
    assert columns(lab.inspect("files/a.jsonl")) == [
        ("a", "DOUBLE"),
        ("b", "STRUCT(c VARCHAR)"),
        ("d", "BIGINT[]"),
    ]
    lab.register("lines", "files/a.jsonl")
    lab.register("arr", "files/b.json")
    assert lab.rows("select a, b.c, d from lines") == [[1.0, "x", None], [2.5, None, [1]]]
    assert lab.rows("select sum(a) from arr") == [[3]]


def test_parquet_tells_its_rows_without_a_scan(lab: Lab) -> None:
    lab.files.joinpath("p").mkdir()
    for number in range(3):
        made = lab.sql(f"select {number} as n, range as r from range(100)")
        made.file.rename(lab.files / "p" / f"{number}.parquet")
    for path in ("files/p", "files/p/*.parquet", "files/p/[01].parquet"):
        found = lab.inspect(path)
        expected = 200 if "[" in path else 300
        assert (found["row_count"], columns(found)) == (expected, [("n", "INTEGER"), ("r", "BIGINT")])
    lab.register("parts", "files/p")
    assert lab.rows("select count(*), sum(n) from parts") == [[300, 300]]


def test_folders_named_like_hive_partitions_become_columns(lab: Lab) -> None:
    for year in (2023, 2024):
        lab.write(f"h/year={year}/x.csv", f"a\n{year % 100}\n")
    lab.register("hive", "files/h")
    assert lab.rows("select a, year from hive order by year") == [[23, 2023], [24, 2024]]


def test_new_files_of_a_glob_are_read_by_the_next_query(lab: Lab) -> None:
    lab.write("g/1.csv", "a\n1\n")
    lab.register("g", "files/g/*.csv")
    lab.write("g/2.csv", "a\n2\n")
    assert lab.rows("select sum(a) from g") == [[3]]


def test_csv_files_with_other_columns_are_refused_and_never_read_by_place(lab: Lab) -> None:
    lab.write("u/1.csv", "a,b\n1,x\n")
    lab.register("u", "files/u")
    lab.write("u/2.csv", "a,c\n2,y\n")
    for look in (lambda: lab.inspect("files/u"), lambda: lab.rows("from u")):
        with pytest.raises(Failed, match=r"2\.csv") as failed:
            look()
        assert failed.value.code == "unlike_columns"


def test_unlike_files_can_be_united_by_name(lab: Lab) -> None:
    lab.write("u/1.csv", "a,b\n1,x\n")
    lab.write("u/2.csv", '"a",c\n2,y\n')
    lab.register("u", "files/u", options={"union_by_name": True})
    assert lab.rows("select a, b, c from u order by a") == [[1, "x", None], [2, None, "y"]]


def test_headers_may_differ_in_quotes_and_case(lab: Lab) -> None:
    lab.write("u/1.csv", "a,b\n1,x\n")
    lab.write("u/2.csv", '"A", b\r\n2,y\r\n')
    lab.register("u", "files/u")
    assert lab.rows("select sum(a) from u") == [[3]]


def test_parquet_files_with_other_columns_are_refused(lab: Lab) -> None:
    lab.files.joinpath("p").mkdir()
    for number, sql in enumerate(("select 1 as a, 2 as b", "select 1 as a")):
        lab.sql(sql).file.rename(lab.files / "p" / f"{number}.parquet")
    with pytest.raises(Failed, match=r"1\.parquet.*lacks b") as failed:
        lab.inspect("files/p")
    assert failed.value.code == "unlike_columns"
    assert columns(lab.inspect("files/p", options={"union_by_name": True})) == [
        ("a", "INTEGER"),
        ("b", "INTEGER"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.parquet"])
def test_an_empty_file_has_no_columns(lab: Lab, name: str) -> None:
    lab.write(name, b"")
    with pytest.raises(Failed, match=name) as failed:
        lab.inspect(f"files/{name}")
    assert failed.value.code == "empty_file"


def test_a_header_alone_makes_a_source_without_rows(lab: Lab) -> None:
    lab.write("h.csv", "a,b\n")
    lab.register("h", "files/h.csv")
    assert lab.rows("select count(*) from h") == [[0]]


def nonsense(kind: str) -> bytes:
    rng = random.Random(1)
    return {
        "noise": rng.randbytes(200_000),
        "text": "".join(rng.choices(string.printable, k=200_000)).encode(),
        "page": b"PAR1" + rng.randbytes(5000) + b"PAR1",
        "short": b"PAR1",
    }[kind]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.csv", "noise"), ("x.json", "noise"), ("x.json", "text"), ("x.parquet", "noise"), ("x.parquet", "text"),
     ("x.parquet", "page"), ("x.parquet", "short")],
)  # fmt: skip
def test_nonsense_is_refused_by_the_name_of_its_file(lab: Lab, name: str, kind: str) -> None:
    lab.write(name, nonsense(kind))
    with pytest.raises(Failed, match=name) as failed:
        lab.inspect(f"files/{name}")
    assert failed.value.code in ("corrupt_file", "not_text")
    assert str(lab.folder) not in failed.value.message


@pytest.mark.parametrize("name", ["big.csv", "big.json", "big.parquet"])
def test_two_gibibytes_of_nothing_are_refused_in_bounded_memory(lab: Lab, name: str) -> None:
    path = lab.write(name, b"")
    os.truncate(path, 2 * GIB)
    with pytest.raises(Failed, match=name) as failed:
        lab.inspect(f"files/{name}")
    assert failed.value.code in ("corrupt_file", "not_text")


def test_one_endless_line_is_refused_in_bounded_memory(lab: Lab) -> None:
    path = lab.files / "line.csv"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"x" * MIB)
    with pytest.raises(Failed) as failed:
        lab.inspect("files/line.csv")
    assert failed.value.code == "corrupt_file"
    assert len(failed.value.message) < 4000


def test_a_parquet_file_that_is_cut_short_is_refused(lab: Lab) -> None:
    whole = lab.sql("select range as r from range(100000)").file.read_bytes()
    lab.write("cut.parquet", whole[: len(whole) // 2])
    with pytest.raises(Failed, match=r"cut\.parquet") as failed:
        lab.inspect("files/cut.parquet")
    assert failed.value.code == "corrupt_file"


def test_a_parquet_file_damaged_inside_fails_the_query_that_reads_it(lab: Lab) -> None:
    whole = bytearray(lab.sql("select range as r, hash(range) as h from range(100000)").file.read_bytes())
    lab.write("damaged.parquet", bytes(whole))
    lab.register("damaged", "files/damaged.parquet")
    whole[1000:20_000] = random.Random(2).randbytes(19_000)
    lab.write("damaged.parquet", bytes(whole))
    with pytest.raises(Failed) as failed:
        lab.rows("select sum(h), sum(r) from damaged")
    assert failed.value.code == "corrupt_file"
    assert str(lab.folder) not in failed.value.message


def test_a_row_that_does_not_fit_the_pinned_types_names_line_and_column(lab: Lab) -> None:
    lab.write("n.csv", "a,b\n1,2\n3,4\n")
    lab.register("n", "files/n.csv")
    lab.write("n.csv", "a,b\n1,2\n3,x\n")
    with pytest.raises(Failed, match=r"Line: 3") as failed:
        lab.rows("from n")
    assert failed.value.code == "conversion_error"
    assert '"b"' in failed.value.message
    assert str(lab.folder) not in failed.value.message
