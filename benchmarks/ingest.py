"""Twenty files at once on every core: how fast they load, and whether the service still answers, beside the usual ways."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, at_least, claim, median
from benchmarks.http import Pool
from benchmarks.open_loop import open_loop
from benchmarks.peers import WAYS
from benchmarks.responsive import HEALTH, RATE, Seen, busy_jobs, figures_of, watch
from benchmarks.servers import ServerProcess, running, tidegate

TITLE = "Loading files while the service answers"
FILES = 20
ROWS = 100_000
ABOUT = (
    f"{FILES} CSV files of {ROWS:,} rows and 8 columns of mixed types (numbers, texts, dates, instants, truth values) become "
    "one data source by one ingest job, over and over, with as many tasks at a time as there are cores and two more. "
    "Meanwhile `GET /health` at 50 requests a second, sent at fixed instants (open loop) as in the benchmark of answer "
    "times. Then the same of a small FastAPI service that turns the same files into Parquet with DuckDB inline in "
    "`async def`, in asyncio's default thread pool, and in a `ProcessPoolExecutor`; it keeps, hashes and checks nothing."
)
TIME_LIMIT_S = 400.0
_NAMES = {
    "inline": "inline in `async def`",
    "threads": "default thread pool",
    "processes": "ProcessPoolExecutor",
}
_CITIES = ("Kiel", "Łódź", "São Paulo", "Ulm", "Bonn", "大阪")


def run(quick: bool) -> list[Figure]:
    for_s = 5.0 if quick else 12.0
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder:
        files = _written(Path(folder), ROWS // 10 if quick else ROWS)
        settings = {"max_concurrent": busy_jobs(), "source_roots": json.dumps([folder])}
        with running(tidegate, log_level="warning", **settings) as server:
            asyncio.run(open_loop(server.port, [HEALTH], RATE, 2.0))
            idle, busy = [], []
            for _ in range(rounds):
                idle.append(asyncio.run(watch(server, [HEALTH], for_s, None)))
                busy.append(
                    asyncio.run(watch(server, [HEALTH], for_s, partial(_job, files), loops=1, has_jobs=True))
                )
        figures = figures_of("health", "`GET /health`", idle, busy)
        figures.append(_throughput("files loaded", busy))
        figures.append(claim("requests that failed", [p for one in (*idle, *busy) for p in one.problems()]))
        for way in WAYS:
            figures += _peer(way, files, for_s)
    return figures


def _written(folder: Path, rows: int) -> list[str]:
    """The files, the same in every run."""
    chance = random.Random(7)
    files = []
    for number in range(FILES):
        path = folder / f"orders_{number:02}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("id,city,amount,count,ordered,seen,paid,note\n")
            for row in range(rows):
                file.write(
                    f"{number * rows + row},{chance.choice(_CITIES)},{chance.uniform(0, 1000):.2f},{chance.randrange(100)},"
                    f"2026-{row % 12 + 1:02}-{row % 28 + 1:02},2026-01-31 08:{row % 60:02}:00,{row % 2 == 0},"
                    f"note {row % 997}\n"
                )
        files.append(str(path))
    return files


def _throughput(what: str, runs: list[Seen]) -> Figure:
    return Figure(
        f"{what} meanwhile",
        median([one.queries_per_s for one in runs]) * FILES,
        "a second",
        at_least(0.1),
        "counted when a job of 20 has ended",
    )


async def _job(files: list[str], pool: Pool) -> None:
    body = {
        "kind": "ingest",
        "files": files,
        "table": "orders",
        "mode": "replace",
        "again": True,
        "queue": "busy",
    }
    made = await pool.call("POST", "/api/v1/jobs", body, status=202)
    seen: dict[str, object] = {"job_status": "QUEUED"}
    while seen["job_status"] in ("ACCEPTED", "QUEUED", "RUNNING"):
        seen = await pool.call("GET", f"{made['links']['self']}?wait_s=30")
    if seen["job_status"] != "SUCCEEDED":
        raise RuntimeError(f"A load did not succeed: {seen}")


def _peer(way: str, files: list[str], for_s: float) -> list[Figure]:
    def start(folder: Path, settings: Mapping[str, object]) -> ServerProcess:
        return ServerProcess([sys.executable, "-m", "benchmarks.peers", way], folder, settings)

    async def load(pool: Pool) -> None:
        await pool.call("POST", "/load", {"files": files})

    with running(start, kill=True) as server:
        asyncio.run(watch(server, [HEALTH], 1.0, None))
        seen = asyncio.run(watch(server, [HEALTH], for_s, load, loops=1))
    times = seen.times["health"]
    return [
        Figure(
            f"for comparison, {_NAMES[way]}: `GET /health`, p99 while busy",
            times.ms(0.99),
            "ms",
            None,
            f"p50 / p99 / max {times.summary} ms; {seen.queries_per_s * FILES:.1f} files a second",
        )
    ]


__all__ = ["ABOUT", "TIME_LIMIT_S", "TITLE", "run"]
