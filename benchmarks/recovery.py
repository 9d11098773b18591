"""A job that ends the process which watches over it: it runs so often and no more, and others wait no longer for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, at_most, blocks_in_turn, claim, percentile
from benchmarks.http import Pool
from benchmarks.servers import ServerProcess, database, running, tidegate, tree

TITLE = "A job that kills the process that watches over it"
ABOUT = (
    "Small queries at a constant rate, with and without a job beside them whose keeper is killed as soon as it runs, "
    "each time that it does: alternating rounds of 7 s on one server, of which the waits of all are taken together. The kill "
    "comes from outside, since sandboxes do not let a job do it. A job may be lost once here (`max_losses` "
    "1), then once more, and is quarantined. A query waits from its submission to its start."
)
TIME_LIMIT_S = 480.0

_RATE = 25.0
_ROUNDS = 16
_P95 = 0.95
_MAX_LOSSES = 1
_LOOK_EVERY_S = 0.05
_ENDS_WITHIN_S = 60.0
_POISON = {"kind": "function", "function": "poison:wait_for_harm", "cpus": 0.1}


class Rounds:
    """Rounds of queries on one server, and what was found in all of them together."""

    def __init__(self, server: ServerProcess, for_s: float) -> None:
        self._server = server
        self._for_s = for_s
        self.poison: list[Mapping[str, Any]] = []
        self.harmed: list[str] = []
        self.queries = 0

    def calm(self) -> Sequence[float]:
        """The waits, in seconds."""
        return asyncio.run(self._measure(poisoned=False))

    def poisoned(self) -> Sequence[float]:
        """The same, beside the job that is killed."""
        return asyncio.run(self._measure(poisoned=True))

    async def _measure(self, *, poisoned: bool) -> Sequence[float]:
        async with Pool(self._server.port) as pool:
            bad = asyncio.create_task(self._harm(pool)) if poisoned else None
            jobs = await self._stream(pool)
            if bad is not None:
                self.poison.append(await bad)
            for job in jobs:
                task = await _ended(pool, job)
                if [attempt["exit"] for attempt in task["attempts"]] != [None]:
                    self.harmed.append(f"job {job}: {task['attempts']}")
        self.queries += len(jobs)
        return _waits_s(self._server.data_dir, jobs)

    async def _stream(self, pool: Pool) -> list[str]:
        began = time.monotonic()
        jobs = []
        for number in range(int(_RATE * self._for_s)):
            await asyncio.sleep(max(began + number / _RATE - time.monotonic(), 0.0))
            jobs.append(await _submit(pool, {"kind": "sql", "sql": f"select {number}", "cpus": 0.1}))
        return jobs

    async def _harm(self, pool: Pool) -> Mapping[str, Any]:
        """One such job, killed until it does not come back."""
        job = await _submit(pool, _POISON)
        async with asyncio.timeout(_ENDS_WITHIN_S):
            for attempt in range(1, _MAX_LOSSES + 2):
                os.kill(await _keeper(self._server.pid, job, attempt), signal.SIGKILL)
            return await _ended(pool, job)


def run(quick: bool) -> list[Figure]:
    settings = {"function_modules": '["poison"]', "function_path": f'["{Path(__file__).parent}"]'}
    with running(tidegate, log_level="error", max_losses=_MAX_LOSSES, max_concurrent=4, **settings) as server:
        Rounds(server, 2.0).calm()
        found = Rounds(server, 7.0)
        waits = blocks_in_turn(found.calm, found.poisoned, 1 if quick else _ROUNDS)
        mode = asyncio.run(_mode(server.port))
    low, high = waits.interval(_P95)
    return [
        claim(
            f"jobs that killed their keepers: not quarantined, or run more or less than {_MAX_LOSSES + 1} times",
            [task for task in found.poison if not _as_written(task)],
            f"{len(found.poison)} of them",
        ),
        claim(
            "queries beside them that were ended, tried again or failed",
            found.harmed,
            f"{found.queries} in all",
        ),
        claim("safe mode was entered for it", [] if mode == "normal" else [mode]),
        Figure(
            "wait of the queries beside it, p95, times that without it",
            waits.ratio(_P95),
            "×",
            at_most(1.05),
            f"without it {_told_ms(waits.a)} ms, with it {_told_ms(waits.b)} ms (p50 / p95 / p99); by nine of ten draws "
            f"of the rounds between {low:.2f} and {high:.2f}",
        ),
    ]


def _as_written(task: Mapping[str, Any]) -> bool:
    ended = task["exit"] or {}
    return len(task["attempts"]) == _MAX_LOSSES + 1 and ended.get("code") == "quarantined"


def _told_ms(blocks_s: Sequence[Sequence[float]]) -> str:
    waits_s = [wait_s for block in blocks_s for wait_s in block]
    return " / ".join(f"{percentile(waits_s, share) * 1000:.1f}" for share in (0.5, _P95, 0.99))


def _waits_s(data_dir: Path, jobs: Sequence[str]) -> list[float]:
    """From submission to start, from the database: the API answers in whole milliseconds."""
    marks = ", ".join("?" * len(jobs))
    with database(data_dir) as connection:
        rows = connection.execute(
            f"SELECT started_at - created_at FROM jobs WHERE id IN ({marks})", [int(job) for job in jobs]
        )
        return [wait / 1e6 for (wait,) in rows]


async def _submit(pool: Pool, body: Mapping[str, Any]) -> str:
    return str((await pool.call("POST", "/api/v1/jobs", body, status=202))["job_id"])


async def _ended(pool: Pool, job: str) -> Mapping[str, Any]:
    """The job's only task, once the job has ended."""
    async with asyncio.timeout(_ENDS_WITHIN_S):
        while not (await pool.call("GET", f"/api/v1/jobs/{job}?wait_s=30"))["finished_at"]:
            pass
    return dict((await pool.call("GET", f"/api/v1/jobs/{job}/tasks"))["items"][0])


async def _keeper(server_pid: int, job: str, attempt: int) -> int:
    """Who watches over this attempt, once it runs. Looked up in /proc: questions to the server would keep others waiting."""
    while True:
        if keeper := _parent_of(server_pid, f"job {job}.1.{attempt}"):
            return keeper
        await asyncio.sleep(_LOOK_EVERY_S)


def _parent_of(above: int, name: str) -> int:
    """Of the process of this name below another; 0 when there is none."""
    for pid in tree(above):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


async def _mode(port: int) -> str:
    async with Pool(port) as pool:
        return str((await pool.call("GET", "/api/v1/safe-mode"))["mode"])
