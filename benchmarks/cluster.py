"""A cluster without the work: jobs through two servers, PostgreSQL, Redis and two workers, beside Celery alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bare_celery import nothing
from benchmarks.figures import Figure, at_least, claim, in_turn, median
from benchmarks.http import Answer, Connection, closed_loop, request
from benchmarks.servers import ROOT, scratch, wait_until
from tidegate.testing.cluster import Cluster, Member
from tidegate.testing.faults import services_of
from tidegate.testing.servers import PostgreSQL, Redis

TITLE = "A cluster without the work"
ABOUT = (
    "Two servers and two workers on one machine, with PostgreSQL (fsync on) and Redis as cache, bell and broker; loaded by "
    "another process over HTTP on loopback. Everything is real but the sandboxes, which run nothing. *Celery alone* is the "
    "same Redis, one program that sends tasks which do nothing, one by one, and a worker with two processes; no database and "
    "no limits. Taken in turn, A B A B."
)
TIME_LIMIT_S = 1200.0

SUSTAINED = 1000
_BULK = 500
_SETTINGS = {"max_concurrent": 2000, "log_level": "warning", "max_waiting": 1_000_000}
_DONE_WITHIN_S = 120.0
_ROLLING = 200


class Stand(NamedTuple):
    """What the figures are taken on."""

    cluster: Cluster
    database: PostgreSQL
    redis: Redis
    celery: subprocess.Popen[bytes]

    @property
    def ports(self) -> list[int]:
        return [int(server.url.rpartition(":")[2]) for server in self.cluster.servers]


def run(quick: bool) -> list[Figure]:
    rounds, jobs, sustained_s = (1, 1000, 20) if quick else (3, 3000, 120)
    with scratch() as folder, _standing(folder) as stand:
        one = _Loads(stand, jobs)
        asyncio.run(_send(stand, _single(200)))
        _wait_done(stand)
        singly = in_turn(one.celery_rate, one.single_rate, rounds)
        bulk = in_turn(one.celery_rate, one.bulk_rate, rounds)
        held = _sustain(stand, sustained_s)
        rolling = _roll(stand, 5.0 if quick else 20.0)
        wrong = [*_unfinished(stand), *_begun_twice(stand.cluster)]
    note = f"{jobs} jobs a round, {rounds} rounds; "
    return [
        Figure("Celery alone", median([*singly.a, *bulk.a]), "tasks/s"),
        Figure("one by one: submitted and finished", median(singly.b), "jobs/s"),
        Figure("one by one, times Celery alone", singly.ratio, "×", at_least(0.5), note + singly.spread),
        Figure("in bulk: submitted and finished", median(bulk.b), "jobs/s"),
        Figure("in bulk, times Celery alone", bulk.ratio, "×", at_least(1.0), note + bulk.spread),
        Figure(
            f"sustained for {sustained_s} s at {SUSTAINED} submitted a second, finished",
            held,
            "jobs/s",
            at_least(SUSTAINED * 0.99),
            "in bulk of 100, by the clock, to both servers in turn; from the first request to the last end",
        ),
        claim("jobs accepted that did not succeed, or were begun twice", wrong, "restarts included"),
        claim(
            f"rolling restart of all servers and workers under {_ROLLING} jobs a second: jobs refused for good",
            rolling.refused,
            f"{rolling.accepted:,} jobs accepted in {rolling.took_s:.0f} s; {rolling.again:,} attempts taken back unbegun",
        ),
    ]


@contextlib.contextmanager
def _standing(folder: Path) -> Iterator[Stand]:
    with PostgreSQL(durable=True) as database, Redis() as redis, contextlib.ExitStack() as closing:
        services = services_of(database.create_database("bench"), redis)
        cluster = Cluster(folder, services, _SETTINGS, clocks=False)
        closing.callback(cluster.close)
        for worker in cluster.workers:
            arguments = ["--name", worker.name, "--begun", str(_begun_by(cluster, worker))]
            worker.command = [sys.executable, "-m", "benchmarks.pretend_worker", *arguments]
        with contextlib.chdir(ROOT):
            cluster.start()
        os.environ["BARE_BROKER_URL"] = bare = redis.url.rpartition("/")[0] + "/1"
        nothing.app.conf.broker_url = bare
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "benchmarks.bare_celery",
            "worker",
            "-c",
            "2",
            "-l",
            "error",
        ]
        with (folder / "celery.log").open("wb") as log:
            celery = subprocess.Popen(
                [*command, "--without-gossip", "--without-mingle"], cwd=ROOT, stdout=log, stderr=log
            )
        closing.callback(celery.wait)
        closing.callback(celery.terminate)
        yield Stand(cluster, database, redis, celery)


class _Loads:
    """The three ways to send jobs, each as a rate from the first request to the last end."""

    def __init__(self, stand: Stand, jobs: int) -> None:
        self._stand = stand
        self._jobs = jobs

    def celery_rate(self) -> float:
        began = time.perf_counter()
        for _ in range(self._jobs):
            nothing.delay()
        if not wait_until(self._celery_idle, _DONE_WITHIN_S, 0.005):
            raise RuntimeError("Celery alone did not finish its tasks.")
        return self._jobs / (time.perf_counter() - began)

    def single_rate(self) -> float:
        return self._rate(_single(self._jobs))

    def bulk_rate(self) -> float:
        return self._rate(
            [_bulk_of(_BULK)] * (self._jobs // _BULK or 1), self._jobs // _BULK * _BULK or _BULK
        )

    def _rate(self, messages: list[bytes], jobs: int | None = None) -> float:
        began = time.perf_counter()
        asyncio.run(_send(self._stand, messages))
        _wait_done(self._stand)
        return (jobs or len(messages)) / (time.perf_counter() - began)

    def _celery_idle(self) -> bool:
        redis = self._stand.redis
        return redis.ask("LLEN", "celery", database=1) == redis.ask("HLEN", "unacked", database=1) == ":0"


def _single(jobs: int) -> list[bytes]:
    return [request("POST", "/api/v1/jobs", {"kind": "sql", "sql": "select 1"})] * jobs


def _bulk_of(jobs: int) -> bytes:
    return request("POST", "/api/v1/jobs/bulk", {"jobs": [{"kind": "sql", "sql": "select 1"}] * jobs})


async def _send(stand: Stand, messages: list[bytes]) -> None:
    """All messages, shared among the servers, over 16 connections each."""
    ports = stand.ports
    parts = [messages[index :: len(ports)] for index in range(len(ports))]
    answers = await asyncio.gather(
        *(closed_loop(port, part, 16) for port, part in zip(ports, parts, strict=True))
    )
    for answer in itertools.chain.from_iterable(answers):
        _check(answer)


def _check(answer: Answer) -> None:
    if answer.wanted(202).get("refused"):
        raise RuntimeError(f"Jobs were refused: {answer.body[:300]!r}")


def _wait_done(stand: Stand, within_s: float = _DONE_WITHIN_S) -> None:
    if not wait_until(lambda: _open_jobs(stand) == 0, within_s, 0.02):
        raise RuntimeError(f"{_open_jobs(stand)} jobs had not ended in {within_s:g} s.")


def _open_jobs(stand: Stand) -> int:
    state = asyncio.run(_ask(stand.ports[0], "/api/v1/queues/default"))
    return int(state["waiting"]) + int(state["running"])


async def _ask(port: int, path: str) -> dict[str, int]:
    connection = await Connection.open(port)
    try:
        answer: dict[str, int] = (await connection.send(request("GET", path))).wanted(200)
        return answer
    finally:
        connection.close()


def _sustain(stand: Stand, seconds: int) -> float:
    """Submit by the clock; the rate at which all of it was finished."""
    began = time.perf_counter()
    asyncio.run(_by_the_clock(stand.ports, seconds))
    _wait_done(stand)
    return SUSTAINED * seconds / (time.perf_counter() - began)


async def _by_the_clock(ports: list[int], seconds: int) -> None:
    message = _bulk_of(100)
    began = asyncio.get_running_loop().time()
    answers = []
    pools = [[await Connection.open(port) for _ in range(8)] for port in ports]
    for beat in range(seconds * SUSTAINED // 100):
        await asyncio.sleep(max(began + beat * 100 / SUSTAINED - asyncio.get_running_loop().time(), 0.0))
        pool = pools[beat % len(pools)]
        answers.append(asyncio.ensure_future(pool[beat // len(pools) % len(pool)].send(message)))
        if len(answers) >= 8:
            _check(await answers.pop(0))
    for answer in answers:
        _check(await answer)
    for connection in itertools.chain.from_iterable(pools):
        connection.close()


class _Rolled(NamedTuple):
    accepted: int
    took_s: float
    again: int
    refused: list[str]


def _roll(stand: Stand, rest_s: float) -> _Rolled:
    """Stop and start every member in turn, while jobs come one by one under keys of their own."""
    accepted: set[int] = set()
    refused: list[str] = []
    began = time.perf_counter()
    asyncio.run(_under_load(stand, rest_s, accepted, refused))
    took_s = time.perf_counter() - began
    _wait_done(stand)
    again = stand.database.run_sql("SELECT count(*) FROM attempts WHERE state <> 'succeeded';", "bench")
    return _Rolled(len(accepted), took_s, int(again), refused)


async def _under_load(stand: Stand, rest_s: float, accepted: set[int], refused: list[str]) -> None:
    over = asyncio.Event()

    async def submit() -> None:
        began, sent, tasks = time.monotonic(), 0, set()
        while not over.is_set():
            await asyncio.sleep(max(began + sent / _ROLLING - time.monotonic(), 0.0))
            task = asyncio.create_task(_insist(stand, sent, accepted, refused))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.gather(*tasks)

    async def roll() -> None:
        for member in stand.cluster.members:
            await asyncio.sleep(rest_s / len(stand.cluster.members))
            await asyncio.to_thread(_restart, member)
        over.set()

    await asyncio.gather(submit(), roll())


def _restart(member: Member) -> None:
    member.stop()
    member.start()
    member.wait_ready()


async def _insist(stand: Stand, sent: int, accepted: set[int], refused: list[str]) -> None:
    """Ask one server after the other, under one key, as a client with patience does."""
    message = request(
        "POST", "/api/v1/jobs", {"kind": "sql", "sql": "select 1"}, idempotency_key=f"rolling-{sent}"
    )
    for attempt in range(200):
        server = stand.cluster.servers[(sent + attempt) % len(stand.cluster.servers)]
        if server.ready and server.url:
            with contextlib.suppress(OSError):
                connection = await Connection.open(int(server.url.rpartition(":")[2]))
                try:
                    answer = await asyncio.wait_for(connection.send(message), 30.0)
                finally:
                    connection.close()
                if answer.status == 202:
                    accepted.add(int(answer.json()["job_id"]))
                    return
        await asyncio.sleep(0.05)
    refused.append(f"key rolling-{sent}")


def _unfinished(stand: Stand) -> list[str]:
    rows = stand.database.run_sql(
        "SELECT status, count(*) FROM jobs WHERE status <> 'SUCCEEDED' GROUP BY status;", "bench"
    ).split()
    return [f"{row.partition('|')[2]} jobs are {row.partition('|')[0]}" for row in rows]


def _begun_by(cluster: Cluster, worker: Member) -> Path:
    """Where a worker notes what its sandboxes were told to begin."""
    return cluster.folder / f"{worker.name}.begun"


def _begun_twice(cluster: Cluster) -> list[str]:
    """What the database says of attempts is not asked: it could not tell of one that ran and was not recorded."""
    lines = itertools.chain.from_iterable(
        _begun_by(cluster, worker).read_text().splitlines() for worker in cluster.workers
    )
    times = Counter(line.rpartition(" ")[0] for line in lines)
    return [
        f"job {key.partition(' ')[0]} was begun {count} times" for key, count in times.items() if count > 1
    ]
