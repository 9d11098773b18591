"""How a submission of kind sql is judged, and what it asks for by default."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.names import RESERVED_WORDS, check_source_name
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.source import Source, SourceColumn
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.workloads.files import DataFile
from tidegate.workloads.sql import Input, SqlWorkload, default_request

LARGEST = Resources(8000, 32 * GIB, 400 * GIB)


def source(name: str, path: str, kind: str = "csv") -> Source:
    return Source(
        name,
        kind,
        path,
        "ann",
        datetime(2026, 1, 1, tzinfo=UTC),
        (SourceColumn("x", "BIGINT"),),
        options={"delim": ","},
    )


def order(fields: dict[str, Any], folder: Path, *sources: Source, largest: Resources = LARGEST) -> WorkOrder:
    def named(names: Any) -> list[Source]:
        asked = {name.lower() for name in names}
        return [one for one in sources if one.name.lower() in asked]

    return SqlWorkload().order(fields, IntakeContext("ann", str(folder), named, largest))


def test_sources_become_inputs_with_their_files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for name in ("b.csv", "a.csv"):
        (tmp_path / "files" / name).write_text("x\n1\n")
    made = order(
        {"sql": "select * from TRIPS"},
        tmp_path,
        source("trips", "files/*.csv"),
        source("other", "files/a.csv"),
    )
    paths = [str(tmp_path / "files" / name) for name in ("a.csv", "b.csv")]
    assert made.spec["inputs"] == [
        {
            "name": "trips",
            "format": "csv",
            "paths": paths,
            "options": {"delim": ","},
            "columns": [["x", "BIGINT"]],
        }
    ]
    assert made.spec["readable_paths"] == paths
    assert (made.name, made.result_name, made.queue) == ("select * from TRIPS", "", "default")


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, "`sql`"),
        ({"sql": ""}, "`sql`"),
        ({"sql": " \n"}, "`sql`"),
        ({"sql": 7}, "`sql`"),
        ({"sql": "select 1\0"}, "NUL"),
        ({"sql": "select '\ud800'"}, "surrogate"),
        ({"sql": "select 1 --" + "x" * MIB}, "1048576"),
        ({"sql": "select 1", "result_name": "1x"}, "result_name"),
        ({"sql": "select 1", "result_name": "a-b"}, "result_name"),
        ({"sql": "select 1", "result_name": "x" * 64}, "63"),
        ({"sql": "select 1", "result_name": 7}, "result_name"),
        ({"sql": "select 1", "result_name": "Select"}, "reserves"),
        ({"sql": "select 1", "result_name": "async_result_9"}, "async_result_"),
        ({"sql": "select 1", "result_name": "Async_Result_x"}, "async_result_"),
        ({"sql": "select 1", "result_name": "duckdb_tables"}, "duckdb_"),
        ({"sql": "select 1", "output": "inline"}, "`output`"),
        ({"sql": "select 1", "output": {"kind": "else"}}, "source, inline, file"),
        ({"sql": "select 1", "output": {"kind": ["inline"]}}, "source, inline, file"),
        ({"sql": "select 1", "output": {"kind": "inline", "max_rows": 0}}, "max_rows"),
        ({"sql": "select 1", "output": {"kind": "inline", "max_bytes": 10**12}}, "max_bytes"),
        ({"sql": "select 1", "output": {"kind": "inline", "max_rows": True}}, "max_rows"),
        (
            {"sql": "select 1", "output": {"kind": "file", "format": "orc"}},
            "parquet, csv, jsonl, arrow, xlsx",
        ),
        ({"sql": "select 1", "output": {"kind": "source", "format": "csv"}}, "format"),
        ({"sql": "select 1", "result_name": "x", "output": {"kind": "inline"}}, "result_name"),
    ],
)
def test_bad_fields_are_refused_by_name(fields: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=part):
        order(fields, tmp_path)


def test_a_source_whose_file_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"source trips .*names no file") as refused:
        order({"sql": "from trips"}, tmp_path, source("trips", "files/gone.csv"))
    assert refused.value.code == "missing_file"


def test_rows_and_files_are_interactive_and_make_no_source(tmp_path: Path) -> None:
    for kind in ("inline", "file"):
        made = order({"sql": "select 1", "output": {"kind": kind}}, tmp_path)
        assert (made.queue, made.result_name, made.request.cpu_milli) == ("interactive", None, 0)
        assert made.request.memory_bytes == 256 * MIB


def files(kind: str, *sizes: int, ending: str = "") -> list[Input]:
    made = tuple(DataFile(f"/x/{number}.{kind}{ending}", size) for number, size in enumerate(sizes))
    return [Input(source("s", "x", kind), made)]


@pytest.mark.parametrize(
    ("inputs", "request_"),
    [
        ([], Resources(500, 256 * MIB, GIB)),
        (files("csv", 100), Resources(1000, 512 * MIB, GIB)),
        (files("csv", 100 * MIB, 155 * MIB), Resources(1000, 512 * MIB, 1020 * MIB + 4 * MIB)),
        (files("csv", 256 * MIB), Resources(2000, 512 * MIB, GIB)),
        (files("csv", 600 * MIB), Resources(2000, GIB, 2400 * MIB)),
        (files("csv", 200 * MIB, ending=".gz"), Resources(1000, 2 * GIB, GIB)),
        (files("parquet", 200 * MIB), Resources(1000, GIB, GIB)),
        (files("parquet", 300 * GIB), Resources(2000, 4 * GIB, 100 * GIB)),
    ],
)
def test_default_requests(inputs: list[Input], request_: Resources) -> None:
    assert default_request(inputs, LARGEST) == request_


def test_a_default_request_fits_the_largest_worker() -> None:
    small = Resources(1000, 900 * MIB, 3 * GIB)
    assert default_request(files("csv", 10 * GIB), small) == Resources(1000, 450 * MIB, 768 * MIB)
    tiny = Resources(400, 200 * MIB, 100 * MIB)
    assert default_request([], tiny).fits_in(tiny)


def test_without_any_worker_defaults_are_what_they_would_be() -> None:
    assert default_request(files("csv", 100), Resources()) == Resources(1000, 512 * MIB, GIB)


def test_a_mebibyte_of_names_is_looked_up_in_slices(tmp_path: Path) -> None:
    asked: list[int] = []

    def named(names: Any) -> list[Source]:
        asked.append(len(list(names)))
        return []

    sql = "select 1 from " + ", ".join(f"t{number}" for number in range(2000))
    SqlWorkload().order({"sql": sql}, IntakeContext("ann", str(tmp_path), named, LARGEST))
    assert max(asked) <= 500
    assert sum(asked) >= 2000


@pytest.mark.parametrize("name", sorted(RESERVED_WORDS))
def test_reserved_words_are_no_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_source_name(name)


def test_ordinary_words_are_names() -> None:
    for name in ("flights", "_x", "A1", "date", "year", "data", "x" * 63):
        assert check_source_name(name) == name
    assert check_source_name("async_result_7", reserved_ok=True) == "async_result_7"
