"""CSV files become Parquet."""

from __future__ import annotations

import pytest

from tests.workloads.tables.bench import Bench
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.model import ColumnType


def test_csv_becomes_typed_columns(bench: Bench) -> None:
    read = bench.extract(b"id,name\n1,ann\n2,bob\n")
    assert [(column.name, column.type) for column in read.columns] == [
        ("id", ColumnType.INTEGER),
        ("name", ColumnType.TEXT),
    ]
    assert bench.rows(read) == [(1, "ann"), (2, "bob")]


def test_a_sample_does_not_decide(bench: Bench) -> None:
    numbers = "".join(f"{number},{number}\n" for number in range(300_000))
    read = bench.extract(f"a,b\n{numbers}1.5,none\n".encode())
    assert [column.type for column in read.columns] == [ColumnType.DOUBLE, ColumnType.TEXT]
    assert bench.rows(read)[-2:] == [(299_999.0, "299999"), (1.5, "none")]
    assert read.bad_rows_path is None


def test_ragged_rows_are_kept_aside(bench: Bench) -> None:
    data = b"a,b\n" + b"1,2\n" * 50 + b"1,2,3\n4\n" + b"5,6\n" * 50
    read = bench.extract(data)
    assert (read.row_count, read.bad_row_count) == (100, 2)
    assert [(row[2], row[5], row[7]) for row in bench.bad(read)] == [
        (52, "too_many_columns", False),
        (53, "too_few_columns", False),
    ]
    with pytest.raises(TaskError, match="first in line 52"):
        bench.extract(data, ragged="fail")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1"])
def test_encodings_are_found_out(bench: Bench, encoding: str) -> None:
    name = "Größe" if encoding == "latin-1" else "城市名称"
    read = bench.extract(f"{name},n\n{name},1\n".encode(encoding))
    assert read.columns[0].name == name
    assert bench.rows(read) == [(name, 1)]
    assert read.facts["encoding"] == encoding.removesuffix("-sig")
    assert {path.name for path in (bench.folder / "staging1").iterdir()} == {"rows.parquet"}


def test_a_wrong_encoding_is_told(bench: Bench) -> None:
    with pytest.raises(TaskError) as failed:
        bench.extract(b"a\n\xff\xfe\xfa\n", encoding="gb18030")
    assert failed.value.code == "not_text"


def test_a_given_type_leaves_out_what_is_not_of_it(bench: Bench) -> None:
    data = b"a,b\n1,x\n2,y,z\n1.5,z\n3\nfour,z\n5,z\n"
    read = bench.extract(data, types={"a": "integer"})
    assert bench.rows(read) == [(1, "x"), (5, "z")]
    assert [(row[2], row[3], row[4], row[5]) for row in bench.bad(read)] == [
        (3, None, "2,y,z", "too_many_columns"),
        (4, "a", "1.5", "wrong_type"),
        (5, None, "3", "too_few_columns"),
        (6, "a", "four", "wrong_type"),
    ]
