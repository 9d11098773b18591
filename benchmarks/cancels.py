"""Cancels at random moments: everything of the job is gone soon, and nothing succeeds after its cancel was acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, at_most, claim, number, percentile
from benchmarks.http import Pool
from benchmarks.servers import ServerProcess, running, tidegate, wait_until, working_below

TITLE = "Cancels at random moments"
ABOUT = (
    "Jobs of three kinds (`select 1`, long aggregations, sleeping ones), several at once, each cancelled "
    "0 to 0.4 s after its submission. Every 10 ms all processes are looked at; the time to end is from "
    "the acknowledgement to the last moment a process of the attempt was seen alive."
)
TIME_LIMIT_S = 400.0

GONE_WITHIN_S = 2.0
_LATEST_S = 0.4
_LOOKS_EVERY_S = 0.01
_AT_ONCE = 6
_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
QUERIES = {
    "tiny": "select 1 as one",
    "aggregation": "select i % 1000 as k, sum(i) as s, max(hash(i)) as h from range(20000000000) t(i) group by k",
    "sleeping": "select sleep_ms(60000)",
}


@dataclass
class Cancelled:
    """A job of a kind of QUERIES: when its cancel was acknowledged (monotonic), as what, and how the job ended."""

    kind: str
    job_id: str
    at: float
    acknowledged: str
    ended: str = ""


@dataclass
class Watcher:
    """A thread that looks at all processes below a folder again and again; `last_seen` by job, in monotonic seconds."""

    folder: Path
    last_seen: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_LOOKS_EVERY_S):
            now = time.monotonic()
            for place in working_below(self.folder).values():
                self.last_seen[job_of(place, self.folder)] = now


def job_of(place: str, attempts: Path) -> str:
    """The job whose attempt works at `place`, that is in `attempts/<job>.<task>.<attempt>/...`."""
    return place[len(str(attempts)) + 1 :].partition(".")[0]


def run(quick: bool) -> list[Figure]:
    count = 150 if quick else 1000
    with running(tidegate, log_level="error", max_concurrent=_AT_ONCE) as server:
        done, last_seen, left = cancel_many(server, count, random.Random(20261122))
    return judge(done, last_seen, left)


def cancel_many(
    server: ServerProcess, count: int, chance: random.Random
) -> tuple[list[Cancelled], dict[str, float], list[int]]:
    """Submit and cancel so many jobs; each with what became of it, when each was last seen, and what works at the end."""
    attempts = server.data_dir / "attempts"
    with Watcher(attempts) as watcher:
        done = asyncio.run(_cancel_all(server.port, count, chance))
        wait_until(lambda: not working_below(attempts), GONE_WITHIN_S)
    return done, watcher.last_seen, list(working_below(attempts))


def judge(done: list[Cancelled], last_seen: dict[str, float], left: list[int]) -> list[Figure]:
    """The figures and claims of `cancel_many`."""
    too_late = [
        f"job {one.job_id} was acknowledged as {one.acknowledged} and then {one.ended}"
        for one in done
        if one.acknowledged not in ("SUCCEEDED", "FAILED") and one.ended != "CANCELLED"
    ]
    ends = [max(last_seen.get(one.job_id, one.at) - one.at, 0.0) for one in done]
    slow = [f"job {one.job_id}: {s:.2f} s" for one, s in zip(done, ends, strict=True) if s > GONE_WITHIN_S]
    ran = [
        (one.kind, s) for one, s in zip(done, ends, strict=True) if last_seen.get(one.job_id, 0.0) > one.at
    ]
    outcomes = ", ".join(
        f"{count} {name}" for name, count in Counter(one.ended for one in done).most_common()
    )
    return [
        claim(
            f"cancelled jobs with a living process after {GONE_WITHIN_S:g} s",
            [*slow, *left],
            f"{len(done)} cancels",
        ),
        claim(
            "jobs that did not end as cancelled after their cancel was acknowledged",
            too_late,
            f"they ended as {outcomes}",
        ),
        Figure(
            "time to end of what ran when cancelled, p50",
            _ms([s for _, s in ran], 0.5),
            "ms",
            None,
            _by_kind(ran),
        ),
        Figure("time to end, p99", _ms([s for _, s in ran], 0.99), "ms"),
        Figure("time to end, longest", _ms([s for _, s in ran], 1.0), "ms", at_most(GONE_WITHIN_S * 1000)),
    ]


def _by_kind(ran: list[tuple[str, float]]) -> str:
    shown = []
    for kind in QUERIES:
        ends = [s for one, s in ran if one == kind]
        shown.append(f"{kind} {number(_ms(ends, 0.5))} ms ({len(ends)} running)")
    return ", ".join(shown)


def _ms(values: list[float], share: float) -> float:
    return percentile(values, share) * 1000 if values else float("nan")


async def _cancel_all(port: int, count: int, chance: random.Random) -> list[Cancelled]:
    plans = iter([(chance.choice(list(QUERIES)), chance.uniform(0, _LATEST_S)) for _ in range(count)])
    done: list[Cancelled] = []
    async with Pool(port) as pool:

        async def drive() -> None:
            for kind, after_s in plans:
                done.append(await _cancel_one(pool, kind, after_s))

        await asyncio.gather(*(drive() for _ in range(_AT_ONCE)))
        for one in done:
            one.ended = (await _final(pool, one.job_id))["job_status"]
    return done


async def _cancel_one(pool: Pool, kind: str, after_s: float) -> Cancelled:
    body = {"kind": "sql", "sql": QUERIES[kind], "cpus": _share_of_cpus(), "memory": "128MiB"}
    job_id = (await pool.call("POST", "/api/v1/jobs", body, status=202))["job_id"]
    await asyncio.sleep(after_s)
    answer = await pool.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    return Cancelled(kind, job_id, time.monotonic(), answer["job_status"])


async def _final(pool: Pool, job_id: str) -> Any:
    seen = await pool.call("GET", f"/api/v1/jobs/{job_id}?wait_s=10")
    if seen["job_status"] not in _FINAL:
        raise RuntimeError(f"A job did not end within 10 s of its cancel: {seen}")
    return seen


def _share_of_cpus() -> float:
    """So that all that are submitted at once can run at once."""
    return len(os.sched_getaffinity(0)) / (2 * _AT_ONCE)
