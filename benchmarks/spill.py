"""Queries larger than their memory, and a long query beside plain DuckDB."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.data import MIB, make_tables
from benchmarks.figures import Figure, at_most, claim, in_turn, median, number
from benchmarks.http import Pool
from benchmarks.servers import ServerProcess, database, running, tidegate

TITLE = "Larger than memory, and long queries"
ABOUT = (
    "A sort and a join, each over Parquet files five times as large as the job's memory of 256 MiB. Then "
    "an aggregation of about ten seconds with as many threads as there are cores, as a job (from POST to "
    "its result known) and as plain DuckDB in a process of its own (connect and the same `COPY`, without "
    "the start of the process), A B A B."
)
TIME_LIMIT_S = 600.0

LIMIT_BYTES = 256 * MIB
TIMES = 5
_SORT = "select * from both_tables order by s"
_JOIN = (
    "select count(*) as n, sum(hash(a.x, b.x, a.y, b.y, a.z, b.z, a.s, b.s) % 1000) as h "
    "from left_table a join right_table b using (key)"
)
_LONG = (
    # Few enough groups for the memory of the job: both ways shall compute, neither spill.
    "select key % 100003 as k, r.i % 4 as i, count(*) as n, sum(x % 1000) as s, avg(z) as a, max(s) as m "
    "from left_table l, range({repeats}) r(i) group by all"
)


def run(quick: bool) -> list[Figure]:
    rounds, repeats = (1, 6) if quick else (3, 48)
    queries = (("sort", _SORT),) if quick else (("sort", _SORT), ("join", _JOIN))
    with running(tidegate, log_level="warning") as server:
        tables = server.data_dir / "files" / "tables"
        size = make_tables(tables, TIMES * LIMIT_BYTES)
        asyncio.run(_register(server.port, tables))
        figures = [figure for name, sql in queries for figure in _spilling(server, name, sql, size)]
        long = _Long(server, tables, repeats)
        compared = in_turn(long.plain_s, long.job_s, rounds)
    figures.append(
        Figure(
            f"a query of {number(median(compared.a))} s as a job, times plain DuckDB",
            compared.ratio,
            "×",
            at_most(1.05),
            f"{_cores()} threads, {rounds} rounds; neighbours' ratios {compared.spread}",
        )
    )
    return figures


def _spilling(server: ServerProcess, name: str, sql: str, data_bytes: int) -> list[Figure]:
    body = {
        "kind": "sql",
        "sql": sql,
        "memory": LIMIT_BYTES,
        "cpus": 1,
        "disk": "10GiB",
        "result_name": f"by_{name}",
    }
    began = time.perf_counter()
    job = asyncio.run(_finish(server.port, body))
    took_s = time.perf_counter() - began
    wrong = [] if job["job_status"] == "SUCCEEDED" else [f"{job['job_status']}: {job['exit']}"]
    peak = job["usage"]["peak_memory_bytes"]
    about = f"{data_bytes / LIMIT_BYTES:.1f} times its memory, {took_s:.0f} s, {_rows(job)}"
    return [
        claim(f"{name} over {TIMES} times its memory did not finish", wrong, about),
        Figure(
            f"{name}: peak memory of {LIMIT_BYTES / MIB:.0f} MiB allowed",
            float("nan") if peak is None else peak / MIB,
            "MiB",
            at_most(LIMIT_BYTES / MIB),
            f"held by {_rung(server)}; DuckDB wrote and read {_disk(job)}",
            claim=True,
        ),
    ]


class _Long:
    """The long query, run both ways."""

    def __init__(self, server: ServerProcess, tables: Path, repeats: int) -> None:
        self._server = server
        self._tables = tables
        self._sql = _LONG.format(repeats=repeats)

    def plain_s(self) -> float:
        out = self._tables / "plain.out"
        sql = self._sql.replace("left_table", f"'{self._tables / 'left.parquet'}'")
        command = [sys.executable, "-m", "benchmarks.plain", str(_cores()), str(out), sql]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        out.unlink()
        return float(done.stdout)

    def job_s(self) -> float:
        body = {"kind": "sql", "sql": self._sql, "memory": "6GiB", "cpus": _cores()}
        began = time.perf_counter()
        job = asyncio.run(_finish(self._server.port, body))
        took_s = time.perf_counter() - began
        if job["job_status"] != "SUCCEEDED":
            raise RuntimeError(f"The long query did not succeed: {job}")
        return took_s


async def _register(port: int, tables: Path) -> None:
    sources = {"left_table": "left.parquet", "right_table": "right.parquet", "both_tables": "*.parquet"}
    async with Pool(port) as pool:
        for name, file in sources.items():
            await pool.call("POST", "/api/v1/sources", {"name": name, "path": str(tables / file)}, status=201)


async def _finish(port: int, body: Mapping[str, object]) -> Any:
    """The job as it ended."""
    async with Pool(port) as pool:
        made = await pool.call("POST", "/api/v1/jobs", body, status=202)
        while True:
            seen = await pool.call("GET", f"{made['links']['self']}?wait_s=60")
            if seen["finished_at"]:
                return seen


def _rows(job: Mapping[str, Any]) -> str:
    result = job["result"] or {}
    return f"{result.get('row_count', 0):,} rows out"


def _disk(job: Mapping[str, Any]) -> str:
    usage = job["usage"]
    return (
        f"{(usage['written_bytes'] or 0) / MIB:,.0f} and {(usage['read_bytes'] or 0) / MIB:,.0f} MiB on disk"
    )


def _rung(server: ServerProcess) -> str:
    """What enforces limits, as the worker has registered it."""
    with database(server.data_dir) as connection:
        rungs = connection.execute("SELECT rungs FROM workers").fetchone()[0]
    return ", ".join(json.loads(rungs)) or "a rung the worker does not name"


def _cores() -> int:
    return len(os.sched_getaffinity(0))
