"""Rows into databases, beside each database's own tool for files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import _duckdb as duckdb

from benchmarks.data import MIB
from benchmarks.figures import Asked, Figure, at_least, in_turn, median, number, seconds
from tidegate.testing.servers import MariaDB, PostgreSQL

TITLE = "Tables into databases"
ABOUT = (
    "The same rows of 8 columns (integers, double, decimal of 38 digits, date, timestamp, text, boolean) into an "
    "empty table, A B A B: from CSV by the database's own tool, and from Parquet as a load does it, with its checks, its "
    "list of loads and its single transaction. Servers and tools run on the same cores."
)
TIME_LIMIT_S = 900.0
_TOOL_LIMIT_S = 300.0

_ROWS = """
    SELECT i AS id, (i * 7919) % 1000003 AS a, (i % 1000) / 7.0::DOUBLE AS d, CAST(i AS DECIMAL(38,0)) AS h,
           DATE '2020-01-01' + CAST(i % 1000 AS INTEGER) AS day, TIMESTAMP '2024-01-01 00:00:00.000123' + to_seconds(i) AS at,
           'name ' || (i % 5000) AS name, i % 2 = 0 AS flag
    FROM range({}) t(i)"""
_TABLE = (
    "CREATE TABLE t (id BIGINT, a BIGINT, d DOUBLE PRECISION, h NUMERIC(38,0), day DATE, at {moment}, name VARCHAR(40), "
    "flag {boolean})"
)


class _Files(NamedTuple):
    parquet: str
    csv: str
    """As PostgreSQL's and SQLite's tools read it."""
    text: str
    """As LOAD DATA reads it by default, with numbers for truth values."""
    rows: int


class _Beside(NamedTuple):
    """One database: its tool, and how it is emptied."""

    tool: str
    asked: Asked | None
    empty: Callable[[], object]
    by_tool: Callable[[], object]
    url: str


def run(quick: bool) -> list[Figure]:
    rounds = 1 if quick else 2
    figures: list[Figure] = []
    for open_one, rows in ((_postgresql, 5_000_000), (_mariadb, 2_000_000), (_sqlite, 2_000_000)):
        with tempfile.TemporaryDirectory() as folder:
            files = _make_files(Path(folder), 200_000 if quick else rows)
            with open_one(files, Path(folder)) as beside:
                figures += _measured(beside, files, rounds)
    return figures


def _measured(beside: _Beside, files: _Files, rounds: int) -> list[Figure]:
    peaks: list[float] = []

    def by_tool() -> float:
        beside.empty()
        return files.rows / seconds(beside.by_tool)

    def by_load() -> float:
        beside.empty()
        command = [sys.executable, "-m", "benchmarks.load_once", beside.url, files.parquet, str(files.rows)]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        peaks.append(done["peak_bytes"])
        return files.rows / float(done["took_s"])

    compared = in_turn(by_tool, by_load, rounds)
    note = (
        f"{number(files.rows)} rows: {number(median(compared.b))} a second beside {number(median(compared.a))}, "
        f"{rounds} rounds; neighbours' ratios {compared.spread}; peak memory of the loading process "
        f"{max(peaks) / MIB:.0f} MiB"
    )
    return [Figure(f"rows a second, times {beside.tool}", compared.ratio, "×", beside.asked, note)]


def _make_files(folder: Path, rows: int) -> _Files:
    names = [str(folder / name) for name in ("rows.parquet", "rows.csv", "rows.txt")]
    con = duckdb.connect(":memory:")
    con.execute(f"COPY ({_ROWS.format(rows)}) TO '{names[0]}' (FORMAT parquet)")
    con.execute(f"COPY (FROM '{names[0]}') TO '{names[1]}' (FORMAT csv, HEADER false)")
    con.execute(
        f"COPY (SELECT * REPLACE (CAST(flag AS TINYINT) AS flag) FROM '{names[0]}') TO '{names[2]}' "
        "(FORMAT csv, HEADER false, DELIMITER '\t')"
    )
    con.close()
    return _Files(*names, rows)


@contextmanager
def _postgresql(files: _Files, _folder: Path) -> Iterator[_Beside]:
    with PostgreSQL() as server, server.database() as url:
        name = url.rpartition("/")[2]
        table = _TABLE.format(moment="TIMESTAMP", boolean="BOOLEAN")
        yield _Beside(
            "psql \\copy",
            at_least(0.7),
            lambda: server.run_sql(f"DROP TABLE IF EXISTS t; {table}; CHECKPOINT;", name),
            lambda: server.run_sql(f"\\copy t FROM '{files.csv}' (FORMAT csv)\n", name, _TOOL_LIMIT_S),
            url,
        )


@contextmanager
def _mariadb(files: _Files, _folder: Path) -> Iterator[_Beside]:
    with MariaDB() as server, server.database() as url:
        name = url.rpartition("/")[2]
        table = _TABLE.format(moment="DATETIME(6)", boolean="TINYINT(1)")
        yield _Beside(
            "LOAD DATA LOCAL by MariaDB's client",
            None,
            lambda: server.run_sql(f"DROP TABLE IF EXISTS t; {table};", name),
            lambda: server.run_sql(
                f"LOAD DATA LOCAL INFILE '{files.text}' INTO TABLE t;\n", name, _TOOL_LIMIT_S
            ),
            url,
        )


@contextmanager
def _sqlite(files: _Files, folder: Path) -> Iterator[_Beside]:
    path = folder / "target.db"
    table = _TABLE.format(moment="TIMESTAMP", boolean="BOOLEAN")

    def shell(*commands: str) -> None:
        subprocess.run(["sqlite3", str(path), *commands], check=True, stdout=subprocess.DEVNULL)

    def empty() -> None:
        path.unlink(missing_ok=True)
        shell(table)

    yield _Beside(
        "sqlite3's .import", None, empty, lambda: shell(f".import --csv {files.csv} t"), f"sqlite:///{path}"
    )
