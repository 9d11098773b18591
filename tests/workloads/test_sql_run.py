"""Queries in the sandbox's place: what they write, what they may not, how they end."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.lab import Failed, Lab
from tidegate.core.resources import GIB, KIB, MIB, Resources
from tidegate.workloads.duckdb_session import memory_limit_bytes, row_group_rows, thread_count
from tidegate.workloads.sql_run import KEPT_BY_PARQUET

SLOW_QUERY = "select count(*) from range(1000000000) a where hash(a.range) % 7 = 3"
HUGE_SORT = "select range, hash(range) as h, repeat('x', 50) as pad from range({rows}) order by h"


def test_the_warm_process_has_one_thread(lab: Lab) -> None:
    assert lab.forker.hello["threads"] == 1


def test_a_result_is_parquet_with_its_facts(lab: Lab) -> None:
    lab.write("a.csv", "city,fare\nRome,2\nOslo,3\nRome,5\n")
    lab.register("trips", "files/a.csv")
    made = lab.sql("select city, sum(fare) as fare, count(*) n from trips group by all order by city")
    assert made.result == {
        "file": "async_result_7.parquet",
        "row_count": 2,
        "column_count": 3,
        "columns": [
            {"name": "city", "type": "VARCHAR"},
            {"name": "fare", "type": "DECIMAL(38,0)"},
            {"name": "n", "type": "BIGINT"},
        ],
        "size_bytes": made.file.stat().st_size,
    }
    assert made.file.read_bytes()[-4:] == b"PAR1"
    assert [path.name for path in made.staging.iterdir()] == ["async_result_7.parquet"]
    assert made.progress == []  # over before there was anything to tell


def test_a_result_can_be_queried_by_name(lab: Lab) -> None:
    made = lab.sql("select range as r from range(1000)")
    made.file.rename(lab.files / "made.parquet")
    lab.register("made", "files/made.parquet")
    assert lab.rows('select max(r) from "MADE"') == [[999]]


@pytest.mark.parametrize(
    ("sql", "rows", "columns"),
    [
        ("select 1 as x where false", 0, ["x"]),
        ("select 1 as a, 2 as a, 3 as A", 1, ["a", "a_1", "A_2"]),
        ("values (1, 2), (3, 4)", 2, ["col0", "col1"]),
        ("from range(3)", 3, ["range"]),
        ("with t as (select 1 as x) select * from t -- end", 1, ["x"]),
        ("select 1 as \"we\"\"ird, näme\";", 1, ['we"ird, näme']),
        ("select 1 as x, sum(range) as x, sum(range) as x from range(3)", 1, ["x", "x_1", "x_2"]),
    ],
)  # fmt: skip
def test_unusual_results(lab: Lab, sql: str, rows: int, columns: list[str]) -> None:
    made = lab.sql(sql)
    assert (made.result["row_count"], [column["name"] for column in made.result["columns"]]) == (
        rows,
        columns,
    )
    shown = lab.sql(sql, output={"kind": "inline", "max_rows": 10, "max_bytes": MIB})
    assert [column["name"] for column in shown.result["columns"]] == columns
    assert len(shown.rows()) == rows


def test_a_text_of_16_mebibytes_passes_whole(lab: Lab) -> None:
    made = lab.sql("select repeat('ä', 8 * 1024 * 1024) as t", memory=GIB)
    made.file.rename(lab.files / "t.parquet")
    lab.register("t", "files/t.parquet")
    assert lab.rows("select length(t), strlen(t) from t", memory=GIB) == [[8 * MIB, 16 * MIB]]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_exports(lab: Lab, kind: str) -> None:
    made = lab.sql("select range as r, 'a,\"b\"' as t from range(3)", output={"kind": "file", "format": kind})
    assert made.result == {"file": f"export.{kind}", "row_count": 3, "size_bytes": made.file.stat().st_size}
    text = made.file.read_bytes()
    if kind == "csv":
        assert text.decode() == 'r,t\n0,"a,""b"""\n1,"a,""b"""\n2,"a,""b"""\n'
    if kind == "jsonl":
        assert [json.loads(line) for line in text.splitlines()] == [{"r": n, "t": 'a,"b"'} for n in range(3)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_exports_without_rows(lab: Lab, kind: str) -> None:
    made = lab.sql("select 1 as x where false", output={"kind": "file", "format": kind})
    assert made.result["row_count"] == 0
    assert made.file.exists()


def test_rows_stop_at_their_number_and_say_so(lab: Lab) -> None:
    output = {"kind": "inline", "max_rows": 3, "max_bytes": MIB}
    short = lab.sql("select range as r from range(3)", output=output)
    assert (short.rows(), short.result["row_count"], short.result["truncated"]) == ([[0], [1], [2]], 3, False)
    cut = lab.sql("select range as r from range(4) order by r desc", output=output)
    assert (cut.rows(), cut.result["row_count"], cut.result["truncated"]) == ([[3], [2], [1]], 3, True)


def test_rows_stop_at_their_bytes_and_say_so(lab: Lab) -> None:
    cut = lab.sql(
        "select repeat('ä', 1000) from range(100)",
        output={"kind": "inline", "max_rows": 100, "max_bytes": 10 * KIB},
    )
    assert cut.result["truncated"]
    assert 0 < cut.result["row_count"] == len(cut.rows()) < 6
    assert cut.file.stat().st_size <= 10 * KIB


def test_random_values_differ_from_job_to_job(lab: Lab) -> None:
    seen = [lab.rows("select random(), gen_random_uuid()")[0] for _ in range(3)]
    assert len({value for row in seen for value in row}) == 6


def test_time_is_utc_whatever_the_machine_says(lab: Lab) -> None:
    assert lab.rows("select current_setting('TimeZone'), timestamptz '2024-01-01 12:00+02'") == [
        ["UTC", "2024-01-01T10:00:00+00:00"]
    ]


def test_two_threads_when_cpus_and_memory_allow(lab: Lab) -> None:
    asked = "select current_setting('threads'), current_setting('memory_limit')"
    assert lab.rows(asked, cpus=2000, memory=GIB)[0][0] == 2
    assert lab.rows(asked, cpus=2000, memory=256 * MIB)[0] == [1, "176.7 MiB"]


@pytest.mark.parametrize(
    ("cpu_milli", "memory_bytes", "threads"),
    [(0, 256 * MIB, 1), (500, GIB, 1), (1500, GIB, 2), (8000, GIB, 6), (8000, 8 * GIB, 8), (2000, 0, 1)],
)
def test_threads_follow_cpus_but_each_has_its_memory(cpu_milli: int, memory_bytes: int, threads: int) -> None:
    assert thread_count(Resources(cpu_milli, memory_bytes)) == threads


def test_duckdb_is_told_less_than_the_limit() -> None:
    assert memory_limit_bytes(256 * MIB) == int(0.85 * 208 * MIB)
    assert memory_limit_bytes(0) == 16 * MIB


@pytest.mark.parametrize(
    ("cpu_milli", "memory_bytes", "rows"),
    [
        (1000, 0, 20_480),
        (1000, 256 * MIB, 22_528),
        (1000, 512 * MIB, 49_152),
        (2000, GIB, 51_200),
        (1000, 8 * GIB, 122_880),
    ],
)
def test_row_groups_shrink_with_memory(cpu_milli: int, memory_bytes: int, rows: int) -> None:
    assert row_group_rows(Resources(cpu_milli, memory_bytes)) == rows


# What a query may not do.

ESCAPES = [
    "from read_csv('/etc/passwd')",
    "from '/etc/hostname.csv'",
    "from read_text('/etc/passwd')",
    "from read_blob('/proc/self/environ')",
    "from glob('/etc/*')",
    "from read_csv('https://example.com/x.csv')",
    "from read_parquet('s3://bucket/x.parquet')",
    "select getenv('HOME')",
    "from parquet_metadata('/etc/passwd')",
    "from sniff_csv('/etc/passwd')",
    "from sqlite_scan('/tmp/x.db', 't')",
    "from query_table('/etc/passwd.csv')",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_only_the_sources_it_names_can_be_read(lab: Lab, sql: str) -> None:
    with pytest.raises(Failed) as failed:
        lab.sql(sql)
    assert failed.value.code in ("permission", "unknown_function", "unknown_table")
    assert "root:" not in failed.value.message


def test_files_beside_a_source_cannot_be_read(lab: Lab) -> None:
    lab.write("a.csv", "x\n1\n")
    lab.register("mine", "files/a.csv")
    for name in ("a.csv2", "b.csv", "a.csv/../b.csv"):
        lab.write("b.csv", "x\nsecret\n")
        with pytest.raises(Failed) as failed:
            lab.sql(f"select * from mine, read_csv('{lab.files}/{name}')")
        assert failed.value.code in ("permission", "missing_file")


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1) to '{out}'",
        "create table t as select 1",
        "install httpfs",
        "load httpfs",
        "attach '{out}' as x",
        "set memory_limit = '10GB'",
        "set global threads = 64",
        "reset threads",
        "pragma database_list",
        "export database '{out}'",
        "select 1; select 2",
        "select 1; copy (select 1) to '{out}'",
        "insert into x values (1)",
        "explain select 1",
        "call pragma_version()",
        "begin",
        "-- nothing",
        "pivot (select 1 as a, 2 as b) on a using sum(b)",
        "select ?",
        "select $1",
    ],
)
def test_only_one_select_is_run(lab: Lab, sql: str) -> None:
    out = lab.folder / "out"
    with pytest.raises(Failed) as failed:
        lab.sql(sql.format(out=out))
    assert failed.value.code == "not_a_query"
    assert not out.exists()


def test_settings_cannot_be_changed_by_a_function(lab: Lab) -> None:
    with pytest.raises(Failed) as failed:
        lab.sql("select set_config('threads', '64', false)")
    assert failed.value.code in ("unknown_function", "permission")


# How a query ends.


def test_memory_that_cannot_spill_ends_as_memory_limit(lab: Lab) -> None:
    with pytest.raises(Failed, match="256 MiB") as failed:
        lab.sql("select list(range) as l from range(100000000)")
    assert (failed.value.code, failed.value.reason) == ("memory_limit", "memory_limit")
    assert failed.value.numbers == {"limit_bytes": 256 * MIB}


def test_spilling_beyond_its_disk_ends_as_disk_limit(lab: Lab) -> None:
    with pytest.raises(Failed, match="20 MiB") as failed:
        lab.sql(HUGE_SORT.format(rows=5_000_000), disk=20 * MIB)
    assert (failed.value.code, failed.value.reason) == ("disk_limit", "disk_limit")
    assert failed.value.numbers == {"limit_bytes": 20 * MIB}


def test_a_sort_larger_than_its_memory_spills_and_stays_within_it(lab: Lab) -> None:
    made = lab.sql(HUGE_SORT.format(rows=4_000_000), memory=192 * MIB)
    assert made.result["row_count"] == 4_000_000
    assert made.maxrss_bytes < 192 * MIB
    left = [
        path.name for path in made.staging.iterdir() if path.stat().st_size
    ]  # DuckDB leaves an empty mark
    assert left == [made.result["file"]]


@pytest.mark.parametrize("cpus", [1000, 2000])
def test_sigterm_ends_a_query_as_cancelled(lab: Lab, cpus: int) -> None:
    with pytest.raises(Failed) as failed:
        lab.sql(SLOW_QUERY, cancel_at_progress=True, cpus=cpus, memory=512 * MIB)
    assert (failed.value.code, failed.value.reason) == ("interrupted", "cancelled")


def test_sigterm_before_the_query_ends_the_process(lab: Lab) -> None:
    spec = lab.order({"sql": SLOW_QUERY}).spec
    answer = lab.forker.run(
        {
            "runner": "tidegate.workloads.sql_run:run",
            "spec": spec,
            "resources": (1000, 256 * MIB, GIB),
            "staging": str(lab.folder),
            "cancel_first": True,
        }
    )
    assert os.WTERMSIG(answer["died"]) == signal.SIGTERM


@pytest.mark.parametrize("kind", sorted(KEPT_BY_PARQUET))
def test_types_that_parquet_keeps_are_what_the_file_says(lab: Lab, kind: str) -> None:
    made = lab.sql(f"select cast(null as {kind}) as a, cast(null as {kind}) as A")
    made.file.rename(lab.files / "made.parquet")
    lab.register("made", "files/made.parquet")
    described = lab.rows("select column_name, column_type from (describe from made)")
    assert described == [[column["name"], column["type"]] for column in made.result["columns"]]
    assert [row[1] for row in described] == [kind, kind]


def test_sigterm_leaves_no_result(lab: Lab) -> None:
    with pytest.raises(Failed):
        lab.sql(f"select * from ({HUGE_SORT.format(rows=3_000_000)})", cancel_at_progress=True)
    assert list((lab.folder / "attempts").rglob("*.parquet")) == []


def test_progress_only_grows(lab: Lab) -> None:
    made = lab.sql(HUGE_SORT.format(rows=3_000_000))
    assert made.progress == sorted(made.progress)
    assert len(made.progress) > 1
    assert 0 <= made.progress[0] < made.progress[-1] == 1.0


def test_a_source_whose_file_went_away_is_named(lab: Lab) -> None:
    path = lab.write("a.csv", "x\n1\n")
    lab.register("gone", "files/a.csv")
    order = {"sql": "from gone"}
    spec: Any = lab.order(order).spec
    path.unlink()
    with pytest.raises(Failed, match="gone") as failed:
        lab.run_sql(spec)
    assert failed.value.code == "missing_file"
    assert str(lab.folder) not in failed.value.message


def test_the_server_side_never_loads_duckdb() -> None:
    code = (
        "import sys; from tidegate.workloads.registry import load_workloads; "
        "print(sorted(load_workloads()), 'duckdb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0].endswith("False")
    assert "'sql'" in done.stdout


def test_many_files_are_one_source(lab: Lab) -> None:
    for number in range(200):
        lab.write(f"many/{number:05}.csv", f"n\n{number}\n")
    lab.register("many", "files/many")
    assert lab.rows("select count(*), sum(n) from many") == [[200, 19900]]


def test_home_need_not_exist() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "HOME"}
    code = "from tidegate.workloads import sql_run; sql_run.warm()"
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, cwd=Path("/"))


def test_a_lock_on_dev_null_holds_up_no_warm_process() -> None:
    """DuckDB locks the files that it writes, and locks on /dev/null are for all of the machine."""
    code = "from tidegate.workloads import sql_run; sql_run.warm()"
    with Path("/dev/null").open("r+b") as locked:
        fcntl.lockf(locked, fcntl.LOCK_SH)
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
