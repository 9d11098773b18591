"""CSV files become Parquet."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.tables.bench import Bench
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.model import ColumnType, TableOptions
from tidegate.workloads.tables.reading import preview


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


_MANY = 30_000
"""More rows than are sniffed, and more bytes than are read whole."""


@pytest.mark.parametrize(
    ("usual", "later", "kind", "last"),
    [
        ("12", "007", ColumnType.TEXT, "007"),
        ("12", "-012", ColumnType.TEXT, "-012"),
        ("12", " 7", ColumnType.INTEGER, 7),
        ("12", "+7", ColumnType.INTEGER, 7),
        ("12", "1.5", ColumnType.DOUBLE, 1.5),
        ("12", "1e3", ColumnType.DOUBLE, 1000.0),
        ("12", "1_000", ColumnType.TEXT, "1_000"),
        ("12", "0x10", ColumnType.TEXT, "0x10"),
        ("12", "none", ColumnType.TEXT, "none"),
        ("12", "9007199254740993", ColumnType.INTEGER, 9007199254740993),
        ("12", "99999999999999999999", ColumnType.DECIMAL, Decimal(99999999999999999999)),
        ("12", "9" * 39, ColumnType.TEXT, "9" * 39),
        ("1.5", "9007199254740993", ColumnType.TEXT, "9007199254740993"),
        ("1.5", "9007199254740992", ColumnType.DOUBLE, 9007199254740992.0),
        ("1.5", "1e300", ColumnType.DOUBLE, 1e300),
        ("1.5", "none", ColumnType.TEXT, "none"),
    ],
)
def test_a_later_number_is_kept_as_it_is(
    bench: Bench, usual: str, later: str, kind: ColumnType, last: object
) -> None:
    filling = "x" * 150
    usual_rows = f"{usual},{filling}\n" * _MANY
    read = bench.extract(f"a,b\n{usual_rows}{later},y\n".encode())
    assert read.columns[0].type is kind
    assert (read.row_count, read.bad_row_count) == (_MANY + 1, 0)
    assert bench.rows(read)[-1] == (last, "y")


def test_zeros_in_front_are_kept_in_preview_and_load(bench: Bench) -> None:
    path = bench.write(b"code,n\n01234,1\n10115,2\n")
    shown = preview(bench.con, str(path), TableOptions(), staging=str(bench.folder))
    assert (shown.columns[0].type, shown.rows[0][0]) == (ColumnType.TEXT, "01234")
    assert bench.rows(bench.extract(path)) == [("01234", 1), ("10115", 2)]
    assert bench.rows(bench.extract(path, types={"code": "integer"})) == [(1234, 1), (10115, 2)]


@settings(max_examples=40, deadline=None)  # each example reads a file
@given(
    st.lists(
        st.none()
        | st.integers(-(10**40), 10**40).map(str)
        | st.from_regex(r"[+-]?[0-9]{1,20}", fullmatch=True),
        min_size=1,
    )
)
def test_no_digit_of_an_integer_is_lost(
    tmp_path_factory: pytest.TempPathFactory, values: list[str | None]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("digits"))
    data = "a,b\n" + "".join(f"{'' if value is None else value},x\n" for value in values)
    read = bench.extract(data.encode())
    loaded = [row[0] for row in bench.rows(read)]
    assert len(loaded) == len(values)
    for value, cell in zip(values, loaded, strict=True):
        if value is None:
            assert cell is None
        elif isinstance(cell, str):
            assert cell == value
        else:
            assert int(cell) == int(value)
            assert not value.lstrip("+-").startswith("0") or value.lstrip("+-") == "0"


def test_a_doubt_with_a_comma_for_a_point(bench: Bench) -> None:
    read = bench.extract(b"a;b\n" + b"1;x\n" * 5 + b"2,5;x\n", decimal=",", delimiter=";")
    assert bench.rows(read)[-1] == (2.5, "x")
