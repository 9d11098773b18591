"""Three times the load that the machine can take, for two minutes, beside a service that admits everything."""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Figure, at_least, at_most, claim, number, percentile
from benchmarks.http import Connection, Pool, request
from benchmarks.open_loop import open_loop
from benchmarks.picture import Line, Panel, picture_of
from benchmarks.responsive import HEALTH
from benchmarks.servers import ServerProcess, running, tidegate

TITLE = "Three times the load that the machine can take"
TIMES = 3.0
DEADLINE_S = 5.0
TRIES = 3
HEALTH_RATE = 20.0
BEAT_S = 1.0
CALLERS = 6
PLAIN = "FastAPI, thread pool"
QUERY = (
    "select i % 1000 as k, sum(i) as s, avg(sqrt(i)) as a, max(hash(i)) as h from range(4000000) t(i) "
    "group by k order by k limit 10"
)
ABOUT = (
    "Queries (DuckDB, one thread each) that are answered in the request: `POST /api/v1/query` of Tidegate, and `POST /work` "
    "of a FastAPI service that runs them in asyncio's default thread pool and admits everything. First and last "
    f"{CALLERS} callers, each asking again as soon as it has an answer, find the best that each does; in between new clients "
    f"come by chance at {TIMES:g} times that rate, whether or not earlier ones were answered (open loop). Work is useful when "
    f"the answer is there within {DEADLINE_S:g} s; then the client goes away. Clients that are refused come back when "
    f"`Retry-After` says so, with their ticket, {TRIES} tries in all: these come on top. Beside them `GET /health` "
    f"{HEALTH_RATE:g} times a second from a process of its own, and once a second a submission of a job of high priority and "
    "its cancel. Times are those of the client."
)
TIME_LIMIT_S = 900.0

_BIN_S = 5.0
_CALM_TIMES = 3.0
_CALM_WITHIN_S = 60.0


class Way(NamedTuple):
    """A service: how it is started, and asked for a query."""

    name: str
    start: Callable[[Path, Mapping[str, object]], ServerProcess]
    path: str
    kill: bool


@dataclass
class Flood:
    """What became of the clients. Instants are seconds from the flood's begin."""

    for_s: float
    asked: int = 0
    refused: int = 0
    late: int = 0
    useful_at: list[float] = field(default_factory=list)
    next_try: list[bool] = field(default_factory=list)
    """Of those who came back for the first time: whether they were taken."""
    wrong: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return sum(at <= self.for_s for at in self.useful_at) / self.for_s


class Seen(NamedTuple):
    best: float
    flood: Flood
    health_s: Sequence[float]
    refused: Sequence[str]
    """Submissions and cancels that were not taken."""
    submissions: int
    silent_s: float
    """Longest time without a beat of the worker."""
    calm_s: float
    """From the end of the flood until queries take about as long as in calm times, and the level is `normal`."""
    levels: Sequence[str] = ()
    """Levels of pressure that were seen during the flood."""


WAYS = (
    Way("Tidegate", tidegate, "/api/v1/query", kill=False),
    Way(
        PLAIN,
        lambda folder, settings: ServerProcess(
            [sys.executable, "-m", "benchmarks.peers", "threads"], folder, settings
        ),
        "/work",
        kill=True,
    ),
)
_pictures: list[str] = []


def run(quick: bool) -> list[Figure]:
    for_s, best_s = (20.0, 4.0) if quick else (120.0, 15.0)
    seen = {way.name: _watch(way, for_s, best_s) for way in WAYS}
    _pictures.append(_picture(seen, for_s))
    ours, plain = (seen[way.name] for way in WAYS)
    return [*_figures(ours), *_compared(plain)]


def picture() -> str:
    """Of the last run: useful work and the answer times of health over time, as SVG."""
    return _pictures[-1]


def _figures(ours: Seen) -> list[Figure]:
    flood = ours.flood
    returned = flood.next_try or [False]
    return [
        Figure(
            "useful work, times the best",
            flood.per_second / ours.best,
            "×",
            at_least(0.9),
            f"{flood.per_second:.1f} answers a second in time beside {ours.best:.1f}; {flood.asked} tries, {flood.refused} "
            f"refused, {flood.late} too late",
        ),
        Figure("`GET /health`: p99", _ms(ours.health_s, 0.99), "ms", at_most(100), _health_note(ours)),
        Figure(
            "clients that came back when they were told, taken at that try",
            100 * sum(returned) / len(returned),
            "%",
            at_least(80),
            f"{len(flood.next_try)} came back",
        ),
        claim("critical submissions and cancels refused", ours.refused, f"of {ours.submissions} submissions"),
        claim(
            "beats of the worker lost",
            [f"{ours.silent_s:.1f} s without one"] if ours.silent_s > 3 * BEAT_S else [],
            f"one each {BEAT_S:g} s; longest time without one {ours.silent_s:.1f} s",
        ),
        Figure(
            "calm again after the flood, the level `normal`",
            ours.calm_s,
            "s",
            at_most(_CALM_WITHIN_S),
            f"levels during the flood: {', '.join(ours.levels)}",
        ),
        claim("answers that were wrong", flood.wrong),
    ]


def _compared(plain: Seen) -> list[Figure]:
    flood = plain.flood
    return [
        Figure(
            f"for comparison, {PLAIN}: useful work, times its best",
            flood.per_second / plain.best,
            "×",
            None,
            f"{flood.per_second:.1f} answers a second in time beside {plain.best:.1f}; {flood.late} of {flood.asked} too late",
        ),
        Figure(
            f"for comparison, {PLAIN}: `GET /health`, p99",
            _ms(plain.health_s, 0.99),
            "ms",
            None,
            _health_note(plain),
        ),
        Figure(f"for comparison, {PLAIN}: calm again after the flood", plain.calm_s, "s"),
    ]


def _health_note(seen: Seen) -> str:
    times = " / ".join(number(_ms(seen.health_s, share)) for share in (0.5, 0.99, 1.0))
    return f"p50 / p99 / max {times} ms"


def _ms(values: Sequence[float], share: float) -> float:
    return percentile(values, share) * 1000


# One service


def _watch(way: Way, for_s: float, best_s: float) -> Seen:
    settings = {} if way.kill else {"log_level": "error", "beat_s": BEAT_S, "lease_s": 60.0}
    with running(way.start, kill=way.kill, **settings) as server:
        return asyncio.run(_story(way, server.port, for_s, best_s))


async def _story(way: Way, port: int, for_s: float, best_s: float) -> Seen:
    message = request("POST", way.path, {"sql": QUERY})
    await _best(port, message, 2.0)  # warm
    before, calm_s = await _best(port, message, best_s)
    critical = _Critical(port) if not way.kill else None
    if critical is not None:
        await critical.prepare()
    flood = Flood(for_s)
    health = asyncio.create_task(open_loop(port, [HEALTH], HEALTH_RATE, for_s))
    beside = [] if critical is None else [asyncio.create_task(critical.run(for_s))]
    await _Crowd(port, way.path, flood).come(TIMES * before)
    seen = await health
    await asyncio.gather(*beside)
    again_s = await _calm(port, message, _CALM_TIMES * calm_s, levels=critical is not None)
    after, _ = await _best(port, message, best_s)
    return Seen(
        best=(before + after) / 2,
        flood=flood,
        health_s=seen.times["health"].values,
        refused=critical.refused if critical else [],
        submissions=critical.submissions if critical else 0,
        silent_s=critical.silent_s if critical else 0.0,
        calm_s=again_s,
        levels=sorted(critical.levels) if critical else (),
    )


async def _best(port: int, message: bytes, for_s: float) -> tuple[float, float]:
    """Answers a second, and the usual time of one, with a few callers that always wait for their answer."""
    took_s: list[float] = []
    until = time.perf_counter() + for_s

    async def call() -> None:
        connection = await Connection.open(port)
        while (began := time.perf_counter()) < until:
            (await connection.send(message)).wanted(200)
            took_s.append(time.perf_counter() - began)
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return len(took_s) / (time.perf_counter() - began), percentile(took_s, 0.5)


async def _calm(port: int, message: bytes, within_s: float, *, levels: bool) -> float:
    """Seconds until a query is answered within this time and, of a service that has levels, the level is normal."""
    began = time.perf_counter()
    while (asked := time.perf_counter()) - began < 2 * _CALM_WITHIN_S:
        connection = await Connection.open(port)
        try:
            async with asyncio.timeout(within_s):
                answered = (await connection.send(message)).status == 200
                if answered and (not levels or await _level(connection) == "normal"):
                    break
        except TimeoutError:
            pass
        finally:
            connection.close()
        await asyncio.sleep(max(0.5 - (time.perf_counter() - asked), 0))
    return time.perf_counter() - began


async def _level(connection: Connection) -> str:
    return str((await connection.send(request("GET", "/api/v1/pressure"))).wanted(200)["level"])


class _Crowd:
    """Clients that ask once, and again when they are told to."""

    def __init__(self, port: int, path: str, flood: Flood) -> None:
        self._port = port
        self._path = path
        self._flood = flood
        self._free: list[Connection] = []
        self._chance = random.Random(7)
        self._began = time.perf_counter()

    async def come(self, per_second: float) -> None:
        """New clients for as long as the flood lasts; then those who are there end."""
        clients: set[asyncio.Task[None]] = set()
        due_s = 0.0
        while due_s < self._flood.for_s:
            await asyncio.sleep(max(due_s - self._now_s(), 0))
            client = asyncio.create_task(self._ask())
            clients.add(client)
            client.add_done_callback(clients.discard)
            due_s += self._chance.expovariate(per_second)
        await asyncio.gather(*clients)
        for connection in self._free:
            connection.close()

    async def _ask(self) -> None:
        headers: dict[str, str] = {}
        for attempt in range(TRIES):
            if self._now_s() > self._flood.for_s:
                return
            answer = await self._exchange(request("POST", self._path, {"sql": QUERY}, **headers))
            refused = answer is not None and answer[0] == 429
            if attempt == 1:
                self._flood.next_try.append(not refused)
            if answer is None or not refused:
                return
            headers = {"tidegate_ticket": answer[1]["ticket"]} if "ticket" in answer[1] else {}
            await self._pause(math.ceil(answer[1]["retry_after_s"]))

    async def _pause(self, told_s: float) -> None:
        """Whole seconds, as the header says; but nobody stays for longer than the flood."""
        await asyncio.sleep(min(told_s, max(self._flood.for_s - self._now_s(), 0) + 0.01))

    async def _exchange(self, message: bytes) -> tuple[int, Any] | None:
        """Status and document of the answer; None when it did not come in time."""
        self._flood.asked += 1
        connection = self._free.pop() if self._free else await Connection.open(self._port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await connection.send(message)
        except (TimeoutError, ConnectionError):
            self._flood.late += 1
            connection.close()
            return None
        self._free.append(connection)
        if answer.status == 200:
            self._flood.useful_at.append(self._now_s())
        elif answer.status == 429:
            self._flood.refused += 1
        else:
            self._flood.wrong.append(f"{answer.status}: {answer.body[:200]!r}")
        return answer.status, answer.json()

    def _now_s(self) -> float:
        return time.perf_counter() - self._began


class _Critical:
    """Submissions of high priority, cancels, and a look at the worker's beat, each second. The jobs wait in a paused queue."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.refused: list[str] = []
        self.submissions = 0
        self.silent_s = 0.0
        self.levels: set[str] = set()

    async def prepare(self) -> None:
        async with Pool(self._port) as pool:
            await pool.call("PUT", "/api/v1/queues/held", {"paused": True})

    async def run(self, for_s: float) -> None:
        body = {"kind": "sql", "sql": "select 1", "queue": "held", "priority": "high"}
        until = time.perf_counter() + for_s
        async with Pool(self._port) as pool:
            while (began := time.perf_counter()) < until:
                self.submissions += 1
                job = await self._taken(pool, 202, "POST", "/api/v1/jobs", body)
                if job is not None:
                    await self._taken(pool, 200, "POST", f"{job['links']['self']}/cancel")
                await self._look(pool)
                await asyncio.sleep(max(1.0 - (time.perf_counter() - began), 0))

    async def _taken(self, pool: Pool, status: int, method: str, path: str, body: object = None) -> Any:
        answer = await pool.send(request(method, path, body, tidegate_criticality="critical_plus"))
        if answer.status == status:
            return answer.json()
        self.refused.append(f"{method} {path}: {answer.status}")
        return None

    async def _look(self, pool: Pool) -> None:
        pressure = request("GET", "/api/v1/pressure", tidegate_criticality="critical_plus")
        self.levels.add((await pool.send(pressure)).wanted(200)["level"])
        answer = await pool.send(
            request("GET", "/api/v1/workers/local", tidegate_criticality="critical_plus")
        )
        beat_at = datetime.fromisoformat(answer.wanted(200)["beat_at"])
        self.silent_s = max(self.silent_s, (datetime.now(beat_at.tzinfo) - beat_at).total_seconds())


# The picture


def _picture(seen: Mapping[str, Seen], for_s: float) -> str:
    work, health = [], []
    for name, one in seen.items():
        work.append(Line(name, _rates(one.flood), dashed_at=one.best))
        health.append(Line(name, _p99s(one.health_s)))
    return picture_of(
        [
            Panel("Useful answers a second (dashed: the best of each service)", work),
            Panel("GET /health: p99 of each 5 s, in milliseconds", health, logarithmic=True),
        ],
        for_s,
        "seconds since the flood began",
    )


def _rates(flood: Flood) -> list[tuple[float, float]]:
    bins = [0] * int(flood.for_s / _BIN_S)
    for at in flood.useful_at:
        if at < len(bins) * _BIN_S:
            bins[int(at / _BIN_S)] += 1
    return [((n + 0.5) * _BIN_S, count / _BIN_S) for n, count in enumerate(bins)]


def _p99s(values_s: Sequence[float]) -> list[tuple[float, float]]:
    per_bin = int(HEALTH_RATE * _BIN_S)
    bins = [values_s[at : at + per_bin] for at in range(0, len(values_s) - per_bin + 1, per_bin)]
    return [((n + 0.5) * _BIN_S, _ms(values, 0.99)) for n, values in enumerate(bins)]
