"""A service under heavy work: answer times at a constant rate, idle and with every core busy, beside the usual ways."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, Latencies, at_least, at_most, claim, median
from benchmarks.http import Pool, request
from benchmarks.open_loop import Stream, open_loop
from benchmarks.peers import WAYS
from benchmarks.servers import ServerProcess, running, tidegate, waited_s

TITLE = "Answering while every core is busy"
ABOUT = (
    "`GET /health` and `POST /api/v1/jobs` (into a paused queue, so that they add no work), each at 50 "
    "requests a second, for Tidegate idle and while DuckDB queries of one thread, two more than there are "
    "cores at any time, run as jobs. Then `GET /health` of a small FastAPI service that runs the same "
    "queries inline in `async def`, in asyncio's default thread pool, and in a `ProcessPoolExecutor`. "
    "Requests are sent at fixed instants, whether or not earlier ones were answered (open loop), by a process of its own "
    "with the highest priority, as if it sat on another machine; times are taken at its sockets, from the send to "
    "the first byte of the answer."
)
TIME_LIMIT_S = 400.0

RATE = 50.0
QUERY = (
    "select i % 1000 as k, sum(i) as s, avg(sqrt(i)) as a, max(hash(i)) as h "
    "from range(60000000) t(i) group by k"
)
HEALTH = Stream("health", lambda number: request("GET", "/health"), 200)
_SUBMIT = Stream(
    "submit",
    lambda number: request(
        "POST", "/api/v1/jobs", {"kind": "sql", "sql": f"select {number}", "queue": "held"}
    ),
    202,
)
_BEFORE_S = 2.0
_LEAST_QUERIES_PER_S = 0.2

Work = Callable[[Pool], Awaitable[None]]


class Seen(NamedTuple):
    """Answer times by stream and how late the sender was, and with what priority; how many queries a second ended
    meanwhile; how long the thread that serves HTTP was without a CPU, for each request, in milliseconds."""

    times: Mapping[str, Latencies]
    late: Latencies
    priority: str
    queries_per_s: float
    waited_ms: float

    def problems(self) -> list[str]:
        return [f"{name}: {failure}" for name, times in self.times.items() for failure in times.failures]


def run(quick: bool) -> list[Figure]:
    for_s = 5.0 if quick else 12.0
    rounds = 1 if quick else 3
    with running(tidegate, log_level="warning", max_concurrent=busy_jobs()) as server:
        asyncio.run(_pause(server.port))
        asyncio.run(open_loop(server.port, [HEALTH, _SUBMIT], RATE, 2.0))
        idle, busy = [], []
        for _ in range(rounds):
            idle.append(asyncio.run(watch(server, [HEALTH, _SUBMIT], for_s, None)))
            busy.append(asyncio.run(watch(server, [HEALTH, _SUBMIT], for_s, _job, has_jobs=True)))
    figures = [
        *figures_of("health", "`GET /health`", idle, busy),
        *figures_of("submit", "`POST /api/v1/jobs`", idle, busy),
    ]
    figures.append(
        Figure(
            "queries ended meanwhile",
            median([one.queries_per_s for one in busy]),
            "a second",
            at_least(_LEAST_QUERIES_PER_S),
            "were there none, other programs would have had the cores and the times above would mean nothing",
        )
    )
    figures.append(claim("requests that failed", [p for one in (*idle, *busy) for p in one.problems()]))
    for way in WAYS:
        figures += _peer(way, for_s)
    return figures


def figures_of(stream: str, name: str, idle: list[Seen], busy: list[Seen]) -> list[Figure]:
    calm = [one.times[stream] for one in idle]
    loaded = [one.times[stream] for one in busy]
    calm_p99, loaded_p99 = (median([times.ms(0.99) for times in each]) for each in (calm, loaded))
    shown = f"p50 / p99 / max: idle {middle(calm).summary}, busy {middle(loaded).summary} ms"
    waited = [median([one.waited_ms for one in each]) for each in (idle, busy)]
    late = median([one.late.ms(0.99) for one in busy])
    return [
        Figure(f"{name}: p99 while busy", loaded_p99, "ms", at_most(20), shown),
        Figure(
            f"{name}: p99 while busy, times that of idle",
            loaded_p99 / calm_p99,
            "×",
            at_most(1.5),
            f"medians of {len(idle)} alternating runs; for each request the thread that serves HTTP waited for a CPU "
            f"{waited[0]:.2f} ms when idle, {waited[1]:.2f} ms when busy; the client ({busy[0].priority}) sent "
            f"{late:.2f} ms late at its p99",
        ),
    ]


def middle(each: list[Latencies]) -> Latencies:
    """The run with the median p99."""
    return sorted(each, key=lambda times: times.ms(0.99))[len(each) // 2]


def _peer(way: str, for_s: float) -> list[Figure]:
    def start(folder: Path, settings: Mapping[str, object]) -> ServerProcess:
        return ServerProcess([sys.executable, "-m", "benchmarks.peers", way], folder, settings)

    names = {
        "inline": "inline in `async def`",
        "threads": "default thread pool",
        "processes": "ProcessPoolExecutor",
    }
    with running(start, kill=True) as server:
        asyncio.run(watch(server, [HEALTH], 1.0, None))
        seen = asyncio.run(watch(server, [HEALTH], for_s, _work))
    times = seen.times["health"]
    return [
        Figure(
            f"for comparison, {names[way]}: `GET /health`, p99 while busy",
            times.ms(0.99),
            "ms",
            None,
            f"p50 / p99 / max {times.summary} ms; {seen.queries_per_s:.2f} queries a second",
        )
    ]


async def watch(
    server: ServerProcess,
    streams: list[Stream],
    for_s: float,
    work: Work | None,
    *,
    loops: int | None = None,
    has_jobs: bool = False,
) -> Seen:
    """Answer times while `work` is done over and over, begun a little earlier, by so many callers (cores and two more).

    `has_jobs`: it leaves jobs in the queue `busy`, which are then ended.
    """
    done: list[float] = []
    async with Pool(server.port) as pool:
        workers: list[asyncio.Task[None]] = []
        if work is not None:
            workers = [
                asyncio.create_task(_repeat(partial(work, pool), done)) for _ in range(loops or busy_jobs())
            ]
            await asyncio.sleep(_BEFORE_S)
        began, waited_before_s = time.perf_counter(), waited_s(server.pid)
        seen = await open_loop(server.port, streams, RATE, for_s)
        ended, waiting_s = time.perf_counter(), waited_s(server.pid) - waited_before_s
        for worker in workers:
            worker.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        await _cancel_all(pool) if work is not None and has_jobs else None
    queries_per_s = sum(began <= at <= ended for at in done) / (ended - began)
    return Seen(seen.times, seen.late, seen.priority, queries_per_s, waiting_s / len(seen.late.values) * 1000)


async def _repeat(work: Callable[[], Awaitable[None]], done: list[float]) -> None:
    while True:
        await work()
        done.append(time.perf_counter())


async def _job(pool: Pool) -> None:
    """The query as a job of Tidegate."""
    body = {"kind": "sql", "sql": QUERY, "cpus": 1, "memory": "256MiB", "queue": "busy"}
    made = await pool.call("POST", "/api/v1/jobs", body, status=202)
    seen: dict[str, object] = {"job_status": "QUEUED"}
    while seen["job_status"] in ("ACCEPTED", "QUEUED", "RUNNING"):
        seen = await pool.call("GET", f"{made['links']['self']}?wait_s=30")
    if seen["job_status"] != "SUCCEEDED":
        raise RuntimeError(f"A query did not succeed: {seen}")


async def _work(pool: Pool) -> None:
    """The query as work of a peer."""
    await pool.call("POST", "/work", {"sql": QUERY})


async def _pause(port: int) -> None:
    async with Pool(port) as pool:
        await pool.call("PUT", "/api/v1/queues/held", {"paused": True})


async def _cancel_all(pool: Pool) -> None:
    """End what still runs, and wait for it, so that the next measurement begins idle."""
    for status in ("RUNNING", "QUEUED"):
        for job in (await pool.call("GET", f"/api/v1/jobs?queue=busy&status={status}"))["items"]:
            await pool.call("POST", f"{job['links']['self']}/cancel")
            await pool.call("GET", f"{job['links']['self']}?wait_s=10")


def busy_jobs() -> int:
    return len(os.sched_getaffinity(0)) + 2
