"""Jobs that take far more memory than they asked for: they end with the numbers, their neighbours and the service go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from benchmarks.bomb_flood import BOMBS, flood
from benchmarks.data import MIB
from benchmarks.figures import Figure, Latencies, at_most, claim, number
from benchmarks.http import Pool, request
from benchmarks.open_loop import Stream, open_loop
from benchmarks.servers import ROOT, processes_of, running, scratch, tidegate
from tidegate.app.folders import instance_of
from tidegate.core.attempt import Exit
from tidegate.core.job import AttemptKey
from tidegate.core.resources import GIB, Resources
from tidegate.core.states import ExitReason
from tidegate.errors import SettingError
from tidegate.runtime.sandbox import SandboxEnd, Sandboxes, SandboxOrder

TITLE = "Memory bombs"
ABOUT = (
    "Jobs of 256 MiB that take 2 GiB, beside four neighbours that work on, on each rung of the ladder "
    "that works here. In bare sandboxes: by themselves, and in four children, one of them with a session "
    "of its own. In the service: a query whose text grows outside of what DuckDB counts, in turns with the neighbours alone; "
    "and, on the first rung that works, "
    "50 of these submitted in a mix with 100 honest queries, five running at a time."
)
TIME_LIMIT_S = 480.0

LIMIT_BYTES = 256 * MIB
TAKE_BYTES = 2 * GIB
NEIGHBOURS = 4
RUNGS = ("cgroup2", "cgroup1", "watchdog")
_BOMBS = ("bomb", "bomb_in_children")
_ENDS_WITHIN_S = 60.0
_NEIGHBOURS_S = 3.0
_ROUNDS = 5
# 2,000 texts of 1 MB, one after the other, in one vector of DuckDB.
_SQL_BOMB = "select max(length(repeat('x', 1000000 + i::int))) as n from range(2000) t(i)"
_SQL_NEIGHBOUR = "select i % 1000 as k, sum(i) as s, max(hash(i)) as h from range(40000000) t(i) group by k"


def run(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    works: list[str] = []
    for rung in RUNGS:
        with scratch() as folder:
            found = in_sandboxes(rung, folder)
        if found is None:
            figures.append(Figure(f"{rung}: does not work here, so it is not measured", float("nan")))
            continue
        figures += found
        figures += _in_service(rung, 1 if quick else _ROUNDS)
        works.append(rung)
    if not works:
        return [*figures, claim("rungs that hold memory", ["no rung works here"])]
    return figures + flood(works[0], 10 if quick else BOMBS)


def in_sandboxes(rung: str, folder: Path) -> list[Figure] | None:
    """Bombs and neighbours in sandboxes without a server; None where the rung does not work."""
    sandboxes = Sandboxes(
        instance=instance_of(folder),
        rung=rung,
        yield_cpu="off",
        preload=["benchmarks.runners"],
        python_path=[str(ROOT)],
    )
    try:
        sandboxes.open()
    except SettingError:
        sandboxes.close()
        return None
    try:
        orders = [_order(folder, number, "work", 128 * MIB) for number in range(NEIGHBOURS)]
        orders += [
            _order(folder, NEIGHBOURS + number, name, LIMIT_BYTES) for number, name in enumerate(_BOMBS)
        ]
        for order in orders:
            sandboxes.start(order)
        ends = _ends(sandboxes, len(orders))
    finally:
        sandboxes.close()
    bombs = [ends.get(order.key) for order in orders[NEIGHBOURS:]]
    neighbours = [ends.get(order.key) for order in orders[:NEIGHBOURS]]
    figures = [_bomb_figure(f"{rung}: {name}", end, rung) for name, end in zip(_BOMBS, bombs, strict=True)]
    harmed = [
        f"{end.key}: {end.exit}" if end else "no end"
        for end in neighbours
        if end is None or not end.succeeded
    ]
    stayed = [f"attempt {end.key}" for end in ends.values() if not end.tree_gone] + processes_of(folder)
    return [
        *figures,
        claim(f"{rung}: neighbours that did not succeed", harmed),
        claim(f"{rung}: trees that were not gone", stayed),
    ]


def _order(folder: Path, number: int, runner: str, memory_bytes: int) -> SandboxOrder:
    key = AttemptKey(number + 1, 1, 1)
    return SandboxOrder(
        key=key,
        runner=f"benchmarks.runners:{runner}",
        spec={"take_bytes": TAKE_BYTES, "seconds": _NEIGHBOURS_S},
        resources=Resources(500, memory_bytes, GIB),
        timeout_s=_ENDS_WITHIN_S,
        folder=str(folder / "attempts" / str(key)),
    )


def _ends(sandboxes: Sandboxes, count: int) -> dict[AttemptKey, SandboxEnd]:
    ends: dict[AttemptKey, SandboxEnd] = {}
    until = time.monotonic() + _ENDS_WITHIN_S
    while len(ends) < count and time.monotonic() < until:
        ends |= {event.key: event for event in sandboxes.poll(1.0) if isinstance(event, SandboxEnd)}
    return ends


def _bomb_figure(name: str, end: SandboxEnd | None, rung: str) -> Figure:
    if end is None:
        return claim(f"{name} did not end as it should", ["it did not end"])
    peak = end.usage.peak_memory_bytes
    return claim(f"{name} did not end as it should", _faults(end.exit, peak, {rung}), _told(end.exit, peak))


def _faults(ended: Exit | None, peak_bytes: int | None, held_by: Set[str]) -> list[str]:
    """What is wrong with the end of a bomb: it has to say the limit, the peak and what held it, and to have been held.

    A query may also be refused memory before the rung has to act; then the runner says so.
    """
    if ended is None or ended.reason is not ExitReason.MEMORY_LIMIT:
        return [f"it ended with {ended}"]
    wrong = [] if ended.limit == LIMIT_BYTES else [f"the limit said is {ended.limit}"]
    wrong += [] if ended.enforced_by in held_by else [f"the rung said is {ended.enforced_by}"]
    # A watchdog only sees it afterwards, so the peak may be above the limit; far from what it wanted it must be.
    wrong += (
        []
        if peak_bytes and LIMIT_BYTES / 2 <= peak_bytes < TAKE_BYTES / 2
        else [f"the peak said is {peak_bytes}"]
    )
    wrong += [] if ended.observed else ["nothing observed is said"]
    return wrong


def _told(ended: Exit | None, peak_bytes: int | None) -> str:
    if ended is None:
        return "it succeeded"
    return f"peak {number((peak_bytes or 0) / MIB)} MiB; held by {ended.enforced_by}; told: {ended.message}"


def _in_service(rung: str, rounds: int) -> list[Figure]:
    calm, health = Latencies([], []), Latencies([], [])
    bombs: list[Mapping[str, Any]] = []
    neighbours: list[Mapping[str, Any]] = []
    wrong: list[str] = []
    with running(tidegate, enforcement=rung, max_concurrent=NEIGHBOURS + 1, log_level="error") as server:
        for number in range(2 * rounds):
            with_bomb = number % 4 in (1, 2)
            blown, beside, seen = asyncio.run(_bomb_service(server.port, with_bomb=with_bomb))
            (health if with_bomb else calm).add(seen)
            bombs += blown
            neighbours += beside
    for bomb in bombs:
        ended, peak = _end_of(bomb)
        wrong += _faults(ended, peak, {rung, "runner"})
    harmed = [f"job {job['job_id']}: {job['exit']}" for job in neighbours if job["job_status"] != "SUCCEEDED"]
    return [
        claim(
            f"{rung}: queries that are bombs and did not end as they should",
            wrong,
            f"{len(bombs)} of them; the last: {_told(*_end_of(bombs[-1]))}",
        ),
        claim(f"{rung}: neighbouring queries that did not succeed", harmed),
        claim(
            f"{rung}: health answers that failed meanwhile", health.failures, f"{len(health.values)} asked"
        ),
        Figure(
            f"{rung}: `GET /health` meanwhile, p99",
            health.ms(0.99),
            "ms",
            at_most(20),
            f"p50 / p99 / max {health.summary} ms; beside the neighbours alone {calm.summary} ms",
        ),
    ]


def _end_of(job: Mapping[str, Any]) -> tuple[Exit | None, int | None]:
    """Its exit, and its highest memory."""
    told = job["exit"] or {}
    ended = Exit(**{**told, "reason": ExitReason(told["reason"])}) if told else None
    return ended, job["usage"]["peak_memory_bytes"]


async def _bomb_service(port: int, *, with_bomb: bool) -> tuple[Sequence[Any], Sequence[Any], Latencies]:
    """The bomb's job if there is to be one, the neighbours' jobs, and health answers from the start of it all on."""
    health = Stream("health", lambda number: request("GET", "/health"), 200)
    async with Pool(port) as pool:
        neighbours = [asyncio.create_task(_finish(pool, _SQL_NEIGHBOUR)) for _ in range(NEIGHBOURS)]
        bombs = [asyncio.create_task(_finish(pool, _SQL_BOMB))] if with_bomb else []
        seen = await open_loop(port, [health], 50.0, _NEIGHBOURS_S)
        return await asyncio.gather(*bombs), await asyncio.gather(*neighbours), seen.times["health"]


async def _finish(pool: Pool, sql: str) -> Mapping[str, Any]:
    body = {"kind": "sql", "sql": sql, "cpus": 0.4, "memory": LIMIT_BYTES}
    made = await pool.call("POST", "/api/v1/jobs", body, status=202)
    async with asyncio.timeout(_ENDS_WITHIN_S):
        while True:
            seen: Mapping[str, Any] = await pool.call("GET", f"{made['links']['self']}?wait_s=30")
            if seen["finished_at"]:
                return seen
