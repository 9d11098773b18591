"""CSV files become Parquet."""

from __future__ import annotations

from tests.workloads.tables.bench import Bench
from tidegate.workloads.tables.model import ColumnType


def test_csv_becomes_typed_columns(bench: Bench) -> None:
    read = bench.extract(b"id,name\n1,ann\n2,bob\n")
    assert [(column.name, column.type) for column in read.columns] == [
        ("id", ColumnType.INTEGER),
        ("name", ColumnType.TEXT),
    ]
    assert bench.rows(read) == [(1, "ann"), (2, "bob")]
