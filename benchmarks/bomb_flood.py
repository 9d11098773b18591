"""Many memory bombs among honest jobs, through a whole server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.data import MIB
from benchmarks.figures import Figure, Latencies, at_most, claim
from benchmarks.http import Pool, request
from benchmarks.open_loop import Stream, open_loop
from benchmarks.servers import running, tidegate

BOMBS = 50
LIMIT_BYTES = 256 * MIB
_GROWING_EVERY = 10
"""Every so many bombs one may have twice its memory, so that it is tried once more."""
_HONEST_PER_BOMB = 2
_AT_A_TIME = 5
_ENDS_WITHIN_S = 180.0
_WATCHED_S = 3.0
# 2,000 texts of 1 MB in one vector of DuckDB, which does not count them.
_BOMB = "select max(length(repeat('x', 1000000 + i::int))) as n from range(2000) t(i)"
_HONEST = "select i % 1000 as k, sum(i) as s, max(hash(i)) as h from range(2000000) t(i) group by k"


class _Seen(NamedTuple):
    """The tasks of bombs, by how many attempts each may have, and of honest jobs; and answers of `GET /health` meanwhile."""

    bombs: Sequence[tuple[int, Mapping[str, Any]]]
    honest: Sequence[Mapping[str, Any]]
    health: Latencies


def flood(rung: str, bombs: int = BOMBS) -> list[Figure]:
    """Bombs and honest jobs, taken in together: every bomb has to end with its numbers and no other to be harmed."""
    with running(tidegate, enforcement=rung, max_concurrent=_AT_A_TIME, log_level="error") as server:
        seen = asyncio.run(_run(server.port, bombs))
    wrong = [fault for most, task in seen.bombs for fault in _faults(task, most, rung)]
    harmed = [f"task {task['task_id']}: {_attempts(task)}" for task in seen.honest if not _went_well(task)]
    name = f"{rung}: {bombs} bombs among {len(seen.honest)} honest queries"
    tried = sum(len(task["attempts"]) for _, task in seen.bombs)
    return [
        claim(
            f"{name}: bombs that did not end with their reason and numbers, or were tried too often",
            wrong,
            f"{tried} attempts; every tenth bomb might have twice its {LIMIT_BYTES // MIB} MiB and was tried once more",
        ),
        claim(f"{name}: honest ones that were ended, tried again or failed", harmed),
        claim(
            f"{name}: health answers that failed meanwhile",
            seen.health.failures,
            f"{len(seen.health.values)} asked",
        ),
        Figure(
            f"{name}: `GET /health` meanwhile, p99",
            seen.health.ms(0.99),
            "ms",
            at_most(100),
            f"{seen.health.summary} ms",
        ),
    ]


async def _run(port: int, bombs: int) -> _Seen:
    async with Pool(port) as pool:
        work = asyncio.create_task(_work(pool, bombs))
        health = Latencies([], [])
        while not work.done():
            stream = Stream("health", lambda number: request("GET", "/health"), 200)
            health.add((await open_loop(port, [stream], 20.0, _WATCHED_S)).times["health"])
        return _Seen(*await work, health)


async def _work(
    pool: Pool, bombs: int
) -> tuple[list[tuple[int, Mapping[str, Any]]], list[Mapping[str, Any]]]:
    """Submit them mixed, and wait for all."""
    bad: list[tuple[int, str]] = []
    good: list[str] = []
    for number in range(bombs):
        grows = number % _GROWING_EVERY == 0
        more = {"max_memory": 2 * LIMIT_BYTES} if grows else {}
        bad.append((1 + grows, await _submit(pool, _BOMB, more)))
        good += [await _submit(pool, _HONEST, {}) for _ in range(_HONEST_PER_BOMB)]
    async with asyncio.timeout(_ENDS_WITHIN_S):
        return [(most, await _end(pool, job)) for most, job in bad], [await _end(pool, job) for job in good]


async def _submit(pool: Pool, sql: str, more: Mapping[str, Any]) -> str:
    body = {"kind": "sql", "sql": sql, "cpus": 0.4, "memory": LIMIT_BYTES, **more}
    made = await pool.call("POST", "/api/v1/jobs", body, status=202)
    return str(made["job_id"])


async def _end(pool: Pool, job_id: str) -> Mapping[str, Any]:
    """The job's only task, once the job has ended."""
    while not (await pool.call("GET", f"/api/v1/jobs/{job_id}?wait_s=30"))["finished_at"]:
        pass
    tasks = (await pool.call("GET", f"/api/v1/jobs/{job_id}/tasks"))["items"]
    return dict(tasks[0])


def _faults(task: Mapping[str, Any], most_attempts: int, rung: str) -> list[str]:
    """What is wrong with the end of a bomb. Its last attempt has to say all there is to say."""
    attempts = task["attempts"]
    wrong = [] if len(attempts) == most_attempts else [f"it was tried {len(attempts)} times"]
    ended = attempts[-1]["exit"] or {}
    limit_bytes = most_attempts * LIMIT_BYTES
    if ended.get("reason") != "memory_limit":
        wrong.append(f"it ended with {ended}")
    elif ended["limit"] != limit_bytes or not ended["observed"]:
        wrong.append(f"it says limit {ended['limit']}, observed {ended['observed']}")
    elif ended["enforced_by"] not in (rung, "runner"):
        wrong.append(f"it says that {ended['enforced_by']} held it")
    return [f"task {task['task_id']}: {one}" for one in wrong]


def _went_well(task: Mapping[str, Any]) -> bool:
    return [attempt["exit"] for attempt in task["attempts"]] == [None]


def _attempts(task: Mapping[str, Any]) -> list[Any]:
    return [attempt["exit"] for attempt in task["attempts"]]
