"""`kill -9` of the server at random moments while jobs run: nothing accepted is lost, nothing is half there or there twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, claim, median, percentile
from benchmarks.http import Pool
from benchmarks.machinery import finished
from benchmarks.servers import (
    ROOT,
    ServerProcess,
    command_of,
    database,
    environment_of,
    processes_of,
    scratch,
    tidegate,
    tree,
    wait_until,
)
from tidegate.errors import LedgerError
from tidegate.store import open_store

TITLE = "Crashes: kill -9 of the server"
ABOUT = (
    "One data directory. Again and again: start the server, submit a dozen jobs and let some of them run, "
    "then `kill -9` it after 0 to 1 s; every tenth time already while it starts. After the last restart "
    "all jobs that were ever acknowledged are waited for and looked at."
)
TIME_LIMIT_S = 600.0

_JOBS_A_ROUND = 12
_LATEST_S = 1.0
_EARLY_EVERY = 10
_EARLY_LATEST_S = 1.5
_QUEUE = "default"
_DONE_WITHIN_S = 180.0
# More losses than there are kills, since each of them is our doing and not the job's.
_SETTINGS: Mapping[str, object] = {
    "log_level": "error",
    "max_concurrent": 4,
    "max_losses": 1000,
    "max_crashes": 1000,
}

_COUNT_ROWS = """
import json, sys, duckdb
for path in json.load(sys.stdin):
    try:
        with open(path, "rb") as file:
            whole = file.read(4) == b"PAR1" and file.seek(-4, 2) > 0 and file.read() == b"PAR1"
        rows = duckdb.execute("select count(*) from read_parquet(?)", [path]).fetchone()[0] if whole else -1
    except (OSError, duckdb.Error) as error:
        rows = -1
    print(rows)
"""


@dataclass
class Story:
    """What happened: acknowledged jobs with the rows each must have, and what was found wrong after restarts."""

    expected: dict[str, int] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    restarts_s: list[float] = field(default_factory=list)
    kills: int = 0


def run(quick: bool) -> list[Figure]:
    with scratch() as folder:
        return crash_many(folder, 8 if quick else 50, random.Random(20261122))


def crash_many(folder: Path, kills: int, chance: random.Random) -> list[Figure]:
    """Kill so many servers on one data directory, then judge what is left."""
    story = Story()
    for number in range(kills):
        if number % _EARLY_EVERY == _EARLY_EVERY - 1:
            _kill_while_starting(folder, chance)
        else:
            _kill_while_working(folder, story, chance)
        story.kills += 1
    server = _start(folder, story)
    try:
        asyncio.run(_settle(server.port))
        wrong_jobs = asyncio.run(_judge_jobs(server.port, story.expected))
        wrong_results = _judge_results(server.data_dir, story.expected)
    finally:
        server.stop()
    stayed = [str(pid) for pid in processes_of(server.data_dir)]
    return [
        claim(
            "accepted jobs that are lost or did not succeed",
            wrong_jobs,
            f"{len(story.expected)} jobs, {kills} kills, {_lost(server.data_dir)} attempts cut short by them",
        ),
        claim("results half there, with wrong rows, registered twice or by nobody", wrong_results),
        claim("processes left over from before a restart", story.left_over),
        claim("processes left after the last stop", stayed),
        claim("ledger does not add up after the last stop", _judge_ledger(server.data_dir)),
        Figure(
            "start after a crash, until the first answer, p50",
            median(story.restarts_s),
            "s",
            None,
            f"longest {percentile(story.restarts_s, 1.0):.1f} s",
        ),
    ]


def _start(folder: Path, story: Story) -> ServerProcess:
    server = tidegate(folder, _SETTINGS)
    story.restarts_s.append(time.perf_counter() - server.started_at)
    ours = set(tree(server.pid))
    # Forks between the two looks are no leftovers: they are below the server when looked at again.
    strangers = set(processes_of(server.data_dir)) - ours - set(tree(server.pid))
    story.left_over += [f"process {pid} after kill {story.kills}" for pid in strangers if _is_alive(pid)]
    return server


def _kill_while_working(folder: Path, story: Story, chance: random.Random) -> None:
    server = _start(folder, story)
    try:
        asyncio.run(_submit_for(server.port, story, chance, chance.uniform(0.0, _LATEST_S)))
    finally:
        server.kill()


def _kill_while_starting(folder: Path, chance: random.Random) -> None:
    process = subprocess.Popen(
        command_of(folder),
        cwd=ROOT,
        env=environment_of(
            _SETTINGS
        ),  # with others it would judge the crashes before it, and enter safe mode
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(chance.uniform(0.0, _EARLY_LATEST_S))
    process.kill()
    process.wait()


async def _submit_for(port: int, story: Story, chance: random.Random, for_s: float) -> None:
    """Submit jobs one after the other, then wait until the time is over. Acknowledged ones are remembered."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s), Pool(port) as pool:
            for _ in range(_JOBS_A_ROUND):
                rows = chance.choice([1, 1000, 200_000])
                sql = f"select i, hash(i) as h from range({rows}) t(i) order by h"
                body = {"kind": "sql", "sql": sql, "cpus": 0.5, "memory": "256MiB", "queue": _QUEUE}
                answer = await pool.call("POST", "/api/v1/jobs", body, status=202)
                story.expected[answer["job_id"]] = rows
            await asyncio.sleep(for_s)


async def _settle(port: int) -> None:
    async with asyncio.timeout(_DONE_WITHIN_S):
        await finished(port, _QUEUE)


async def _judge_jobs(port: int, expected: Mapping[str, int]) -> list[str]:
    wrong = []
    async with Pool(port) as pool:
        for job_id, rows in expected.items():
            try:
                job: Any = await pool.call("GET", f"/api/v1/jobs/{job_id}")
            except RuntimeError as error:
                wrong.append(f"job {job_id}: {error}")
                continue
            found = (job["result"] or {}).get("row_count")
            if job["job_status"] != "SUCCEEDED" or found != rows:
                wrong.append(
                    f"job {job_id} is {job['job_status']} with {found} rows of {rows}: {job['exit']}"
                )
    return wrong


def _judge_results(data_dir: Path, expected: Mapping[str, int]) -> list[str]:
    """Sources, files and rows, as the database and the disk have them."""
    with database(data_dir) as connection:
        found = connection.execute("SELECT job_id, path FROM sources WHERE reserved_by IS NULL").fetchall()
        sources = [(job, str(data_dir / path)) for job, path in found]  # paths are kept relative
        succeeded = {row[0] for row in connection.execute("SELECT id FROM jobs WHERE status = 'SUCCEEDED'")}
    wrong = [
        f"job {job} has {count} sources"
        for job, count in Counter(job for job, _ in sources).items()
        if count > 1
    ]
    wrong += [f"job {job} succeeded without a source" for job in succeeded - {job for job, _ in sources}]
    registered = {path for _, path in sources}
    on_disk = {str(path) for path in (data_dir / "results").rglob("*") if path.is_file()}
    wrong += [f"{path} is registered and not there" for path in registered - on_disk]
    wrong += [f"{path} is there and not registered" for path in on_disk - registered]
    counted = _count_rows([path for _, path in sources])
    for (job, path), rows in zip(sources, counted, strict=True):
        if rows < 0 or rows != expected.get(str(job), rows):
            wrong.append(f"{path} has {rows} rows, not {expected.get(str(job))}")
    return wrong


def _count_rows(paths: list[str]) -> list[int]:
    """Rows of Parquet files, -1 where one is not whole; by another process, so that this one does not load DuckDB."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT_ROWS],
        input=json.dumps(paths),
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in done.stdout.split()]


def _judge_ledger(data_dir: Path) -> list[str]:
    store = open_store(f"sqlite:///{data_dir / 'tidegate.db'}")
    try:
        store.check()
    except LedgerError as error:
        return [str(error)]
    finally:
        store.close()
    with database(data_dir) as connection:
        live = connection.execute("SELECT COUNT(*) FROM allocations WHERE released_at IS NULL").fetchone()[0]
    return [f"{live} allocations are live though nothing runs"] if live else []


def _lost(data_dir: Path) -> int:
    """Attempts that ran when their server was killed. Were there none, the kills would have proven nothing."""
    with database(data_dir) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM attempts WHERE state = 'lost'").fetchone()[0])


def _is_alive(pid: int) -> bool:
    """Whether it is still there a moment later and no zombie: the kernel may take a while to end what was killed."""
    return not wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), 0.1)
