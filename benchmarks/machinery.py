"""The machinery without the work: jobs through HTTP, intake, cycle and SQLite, with a launcher that pretends to run them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.figures import Compared, Figure, at_least, claim, in_turn, median
from benchmarks.http import Answer, Pool, closed_loop, request
from benchmarks.servers import ServerProcess, cpu_s, database, machinery, running

TITLE = "Machinery: jobs per second without the work"
ABOUT = (
    "A server process with everything but the sandboxes (SQLite with synchronous FULL; a launcher whose "
    "attempts succeed at once), loaded by another process over HTTP on loopback. Queues may run 500 tasks "
    "at once here. Finished means stored as SUCCEEDED."
)
TIME_LIMIT_S = 400.0

CONNECTIONS = 32
BULK_CONNECTIONS = 2
BULK_SIZE = 1000
HELD = 100_000
_DONE_WITHIN_S = 120.0
_LOOKS_EVERY_S = 0.05
_SETTINGS: Mapping[str, Any] = {"max_concurrent": 500, "log_level": "warning"}


class Rates(NamedTuple):
    """Jobs per second: accepted, and from the first request until the last job had succeeded."""

    accepted: float
    finished: float


def run(quick: bool) -> list[Figure]:
    rounds = 2 if quick else 3
    with running(machinery, **_SETTINGS) as empty, running(machinery, **_SETTINGS) as full:
        singly = Load(empty, 1000 if quick else 3000, one_by_one)
        bulk = Load(empty, 5000 if quick else 20_000, in_bulk)
        warm_up(empty)
        warm_up(full)
        asyncio.run(_hold(full.port, HELD))
        cpu_before, made_before = cpu_s(empty.pid), singly.made
        singly_compared = in_turn(
            singly.finished_rate, Load(full, singly.jobs, one_by_one).finished_rate, rounds
        )
        cpu_ms = (cpu_s(empty.pid) - cpu_before) / (singly.made - made_before) * 1000
        bulk_full = Load(full, bulk.jobs, in_bulk)
        bulk_compared = in_turn(bulk.finished_rate, bulk_full.finished_rate, rounds)
        wrong = _unfinished(empty, singly.made + bulk.made) + _unfinished(full, singly.made + bulk_full.made)
    return [
        *_figures(singly, bulk, bulk_full, singly_compared, bulk_compared, cpu_ms),
        claim("jobs that were accepted and did not succeed, or too many", wrong),
    ]


def _figures(
    singly: Load,
    bulk: Load,
    bulk_full: Load,
    singly_compared: Compared,
    bulk_compared: Compared,
    cpu_ms: float,
) -> list[Figure]:
    drop = f"A B A B, {len(singly_compared.a)} rounds; neighbours' ratios "
    return [
        Figure(
            "one by one: submitted and finished",
            median(singly_compared.a),
            "jobs/s",
            at_least(800),
            f"{singly.jobs} jobs over {CONNECTIONS} connections, end to end; {cpu_ms:.2f} ms of server CPU a job",
        ),
        Figure("one by one: accepted", median([r.accepted for r in singly.rates]), "jobs/s"),
        Figure(
            "in bulk: accepted",
            median([r.accepted for r in bulk.rates]),
            "jobs/s",
            at_least(5000),
            f"{bulk.jobs} jobs, {BULK_SIZE} a request, {BULK_CONNECTIONS} connections, while earlier ones run",
        ),
        Figure("in bulk: submitted and finished", median(bulk_compared.a), "jobs/s"),
        Figure(
            f"one by one with {HELD:,} waiting: share of the rate with none",
            singly_compared.ratio,
            "×",
            at_least(0.8),
            drop + singly_compared.spread,
        ),
        Figure(
            f"in bulk with {HELD:,} waiting: share of the accepted rate with none",
            median([r.accepted for r in bulk_full.rates]) / median([r.accepted for r in bulk.rates]),
            "×",
            at_least(0.8),
        ),
        Figure(
            f"in bulk with {HELD:,} waiting: share of the finished rate with none",
            bulk_compared.ratio,
            "×",
            None,
            drop + bulk_compared.spread,
        ),
    ]


class Load:
    """Sends jobs to one server, again and again, and keeps the rates."""

    def __init__(
        self, server: ServerProcess, jobs: int, messages: Callable[[int], tuple[Iterator[bytes], int]]
    ) -> None:
        self._server = server
        self.jobs = jobs
        self._messages = messages
        self.made = 0
        self.rates: list[Rates] = []

    def finished_rate(self) -> float:
        self.rates.append(asyncio.run(self._send()))
        self.made += self.jobs
        return self.rates[-1].finished

    async def _send(self) -> Rates:
        messages, connections = self._messages(self.jobs)
        began = time.perf_counter()
        answers = await closed_loop(self._server.port, messages, connections)
        accepted_s = time.perf_counter() - began
        await finished(self._server.port, "default")
        finished_s = time.perf_counter() - began
        _check(answers)
        return Rates(self.jobs / accepted_s, self.jobs / finished_s)


def one_by_one(jobs: int) -> tuple[Iterator[bytes], int]:
    message = request("POST", "/api/v1/jobs", {"kind": "sql", "sql": "select 1"})
    return iter([message] * jobs), CONNECTIONS


def in_bulk(jobs: int, queue: str = "default") -> tuple[Iterator[bytes], int]:
    body = {"jobs": [{"kind": "sql", "sql": "select 1", "queue": queue}] * BULK_SIZE}
    return iter([request("POST", "/api/v1/jobs/bulk", body)] * (jobs // BULK_SIZE)), BULK_CONNECTIONS


def warm_up(server: ServerProcess) -> None:
    """So that no figure holds the first use of anything."""
    Load(server, 200, one_by_one).finished_rate()


async def finished(port: int, queue: str, last: int | None = None) -> None:
    """Wait until nothing of a queue waits or runs. Raises TimeoutError.

    With `last`, the number of the job submitted last, its end is waited for by one request first, so that looking at the
    queue again and again is no load of its own.
    """
    until = time.monotonic() + _DONE_WITHIN_S
    async with Pool(port) as pool:
        if last is not None:
            await pool.call("GET", f"/api/v1/jobs/{last}?wait_s=59")
        while True:
            state = await pool.call("GET", f"/api/v1/queues/{queue}")
            if state["waiting"] == state["running"] == 0:
                return
            if time.monotonic() > until:
                raise TimeoutError(
                    f"Queue {queue} has still {state['waiting']} waiting, {state['running']} running."
                )
            await asyncio.sleep(_LOOKS_EVERY_S)


async def _hold(port: int, jobs: int) -> None:
    """Fill a paused queue."""
    async with Pool(port) as pool:
        await pool.call("PUT", "/api/v1/queues/held", {"paused": True})
    messages, connections = in_bulk(jobs, "held")
    _check(await closed_loop(port, messages, connections))


def _check(answers: list[Answer]) -> None:
    for answer in answers:
        body = answer.wanted(202)
        if body.get("refused"):
            raise RuntimeError(f"Jobs of a bulk submission were refused: {answer.body[:500]!r}")


def _unfinished(server: ServerProcess, made: int) -> list[str]:
    """How the store's count of succeeded jobs differs from what was made, the warm-up included."""
    with database(server.data_dir) as connection:
        rows = connection.execute(
            "SELECT status, COUNT(*) FROM jobs WHERE queue = 'default' GROUP BY status"
        ).fetchall()
    return [] if rows == [("SUCCEEDED", made + 200)] else [f"expected {made + 200} succeeded, found {rows}"]
