"""Real `select 1` jobs, each in a sandbox of its own: how many a second, and how long one takes from submission to result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Latencies, at_least, at_most, claim, median, number
from benchmarks.http import Connection, closed_loop, request
from benchmarks.machinery import finished
from benchmarks.servers import ServerProcess, cpu_s, database, running, tidegate, tree

TITLE = "Real small jobs, one sandbox each"
ABOUT = (
    "`tidegate serve` with its defaults; jobs `select 1` with the default request of a query without input (half a CPU, "
    "256 MiB), each forked, confined, its result published as Parquet with fsync and registered as a source. Round trip: "
    "POST, then GET with `wait_s`, one after the other by one client."
)
TIME_LIMIT_S = 180.0

_CLIENTS = 8
_JOB = {"kind": "sql", "sql": "select 1"}
_SETTINGS: Mapping[str, Any] = {"log_level": "warning"}


class Throughput(NamedTuple):
    """Jobs a second, and CPU milliseconds a job: of the server, of it with zygote, keepers and attempts, of the client."""

    rate: float
    server_ms: float
    all_ms: float
    client_ms: float


def run(quick: bool) -> list[Figure]:
    rounds, jobs, trips = (2, 150, 50) if quick else (3, 600, 200)
    with running(tidegate, **_SETTINGS) as server:
        asyncio.run(_throughput(server, 20))
        taken = [asyncio.run(_throughput(server, jobs)) for _ in range(rounds)]
        before = time.time()
        round_trips, posts = asyncio.run(_round_trips(server.port, trips))
        queries = asyncio.run(_queries(server.port, trips))
        made = 20 + rounds * jobs + trips
        steps = _steps(server, before)
        wrong = _not_succeeded(server, made)
    return [
        Figure(
            "submitted and finished",
            median([one.rate for one in taken]),
            "jobs/s",
            at_least(150),
            f"{jobs} jobs over {_CLIENTS} connections, end to end; CPU a job: "
            f"server {median([one.server_ms for one in taken]):.1f} ms, "
            f"with its sandboxes {median([one.all_ms for one in taken]):.1f} ms; "
            f"of the client {median([one.client_ms for one in taken]):.1f} ms",
        ),
        Figure("round trip, p50", round_trips.ms(0.5), "ms", at_most(60), _where(steps)),
        Figure("round trip, p99", round_trips.ms(0.99), "ms"),
        Figure("of it until the submission is on disk and answered, p50", posts.ms(0.5), "ms"),
        Figure("`POST /query`, p50", queries.ms(0.5), "ms", None, f"p99 {queries.ms(0.99):.1f} ms"),
        *[Figure(f"step: {name}, p50", value, "ms") for name, value in steps.items()],
        claim("jobs that did not succeed", wrong),
    ]


async def _throughput(server: ServerProcess, jobs: int) -> Throughput:
    server_before, all_before, client_before = cpu_s(server.pid), _cpu_of_all(server), time.process_time()
    began = time.perf_counter()
    answers = await closed_loop(server.port, [request("POST", "/api/v1/jobs", _JOB)] * jobs, _CLIENTS)
    await finished(server.port, "default", max(int(answer.wanted(202)["job_id"]) for answer in answers))
    took_s = time.perf_counter() - began
    spent_s = (
        cpu_s(server.pid) - server_before,
        _cpu_of_all(server) - all_before,
        time.process_time() - client_before,
    )
    return Throughput(jobs / took_s, *(spent / jobs * 1000 for spent in spent_s))


def _cpu_of_all(server: ServerProcess) -> float:
    """CPU seconds of the server and all below it, those that have ended and were waited for included."""
    return sum(cpu_s(pid, with_children=True) for pid in tree(server.pid))


async def _round_trips(port: int, trips: int) -> tuple[Latencies, Latencies]:
    """Of whole round trips, and of their first half, the submission."""
    connection = await Connection.open(port)
    whole, posts = Latencies([], []), Latencies([], [])
    for _ in range(trips):
        began = time.perf_counter()
        made = (await connection.send(request("POST", "/api/v1/jobs", _JOB))).wanted(202)
        posts.values.append(time.perf_counter() - began)
        seen = (await connection.send(request("GET", f"{made['links']['self']}?wait_s=30"))).wanted(200)
        whole.values.append(time.perf_counter() - began)
        if seen["job_status"] != "SUCCEEDED":
            raise RuntimeError(f"A job did not succeed: {seen}")
    connection.close()
    return whole, posts


async def _queries(port: int, trips: int) -> Latencies:
    connection = await Connection.open(port)
    taken = Latencies([], [])
    for _ in range(trips):
        began = time.perf_counter()
        (await connection.send(request("POST", "/api/v1/query", {"sql": "select 1"}))).wanted(200)
        taken.values.append(time.perf_counter() - began)
    connection.close()
    return taken


def _steps(server: ServerProcess, since: float) -> Mapping[str, float]:
    """Medians in milliseconds of the steps of the round trips, from the instants the store keeps."""
    with database(server.data_dir) as connection:
        rows = connection.execute(
            "SELECT j.created_at, a.started_at, a.claimed_at, a.ended_at, a.wall_seconds, a.cpu_seconds "
            "FROM jobs j JOIN attempts a ON a.job_id = j.id WHERE j.queue = 'default' AND j.created_at > ?",
            (int(since * 1e6),),
        ).fetchall()
    return {
        "judged, stored, planned": median([start - made for made, start, *_ in rows]) / 1000,
        "start committed and claimed": median([claimed - start for _, start, claimed, *_ in rows]) / 1000,
        "sandbox, from the keeper's order to its report": median([wall for *_, wall, _ in rows]) * 1000,
        "of it CPU of the attempt": median([cpu for *_, cpu in rows]) * 1000,
        "published, and orders and reports under way": median(
            [end - claimed - wall * 1e6 for _, _, claimed, end, wall, _ in rows]
        )
        / 1000,
    }


def _where(steps: Mapping[str, float]) -> str:
    largest = sorted(
        ((value, name) for name, value in steps.items() if not name.startswith("of it")), reverse=True
    )
    return "most in: " + ", ".join(f"{name} {number(value)} ms" for value, name in largest[:3])


def _not_succeeded(server: ServerProcess, made: int) -> list[str]:
    with database(server.data_dir) as connection:
        query = "SELECT status, COUNT(*) FROM jobs WHERE queue = 'default' GROUP BY status"
        rows = connection.execute(query).fetchall()
    return [] if rows == [("SUCCEEDED", made)] else [f"expected {made} succeeded, found {rows}"]
