"""A mixed load of small jobs on any server that runs, sent through the client as a program of its users would."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tidegate
from benchmarks.figures import Latencies
from tidegate.client.aio import AsyncClient
from tidegate.errors import Busy, TidegateError

CANCELLED_AFTER_S = 0.2
PATIENCE_S = 120.0
"""How long a job may take, from its submission to its end, before it counts as lost."""


class Kind(NamedTuple):
    """A kind of job in the mix: how often it comes, what is sent, and the status it has to end with."""

    name: str
    weight: int
    kind: str
    fields: Mapping[str, Any]
    ends: str = "SUCCEEDED"


MIX = (
    Kind("select 1", 60, "sql", {"sql": "select 1"}),
    Kind("a sum over 2 million rows", 20, "sql", {"sql": "select sum(hash(i)) from range(2000000) t(i)"}),
    Kind("one statement checked", 15, "lint", {"sql_content": "select  a,b from t\n", "cache": False}),
    Kind(
        "a query of hours, cancelled",
        5,
        "sql",
        {"sql": "select count(*) from range(10000000000) t(i) where hash(i) = 7"},
        "CANCELLED",
    ),
)


@dataclass
class Load:
    """What became of the jobs: times in seconds until the submission was answered, and until the end was known."""

    accepted: Latencies = field(default_factory=lambda: Latencies([], []))
    ended: Latencies = field(default_factory=lambda: Latencies([], []))
    sent: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Turned away for good, with 429 or 503, after the client had come back as often as it may."""
    took_s: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Jobs lost, or ended as they should not."""
        return self.ended.failures

    @property
    def per_second(self) -> float:
        return len(self.ended.values) / self.took_s


@contextlib.asynccontextmanager
async def connected(url: str, api_key: str | None = None) -> AsyncIterator[AsyncClient]:
    """A client while the block runs. Raises TidegateError when no server answers, or not to this key."""
    async with tidegate.connect_async(url, api_key=api_key) as client:
        await _first(client.jobs(page_size=1))
        yield client


async def at_rate(client: AsyncClient, rate: float, for_s: float, chance: random.Random) -> Load:
    """Jobs that come by chance at a mean rate, whether or not earlier ones have ended (open loop)."""
    load = Load()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_watched(client))
        due_s = chance.expovariate(rate)
        while due_s < for_s:
            await asyncio.sleep(began + due_s - time.perf_counter())
            group.create_task(_one(client, _chosen(chance), load))
            due_s += chance.expovariate(rate)
        watch.cancel()
    load.took_s = time.perf_counter() - began
    return load


async def at_most(client: AsyncClient, callers: int, for_s: float, chance: random.Random) -> Load:
    """As many jobs as it takes from callers who each send the next one when the last has ended (closed loop)."""
    load = Load()
    began = time.perf_counter()

    async def call() -> None:
        while time.perf_counter() - began < for_s:
            await _one(client, _chosen(chance), load)

    await asyncio.gather(*(call() for _ in range(callers)))
    load.took_s = time.perf_counter() - began
    return load


def _chosen(chance: random.Random) -> Kind:
    return chance.choices(MIX, [kind.weight for kind in MIX])[0]


async def _one(client: AsyncClient, kind: Kind, load: Load) -> None:
    """One job from its submission to its end."""
    load.sent[kind.name] += 1
    began = time.perf_counter()
    try:
        job = await client.submit(kind.kind, busy_timeout_s=PATIENCE_S, **kind.fields)
        load.accepted.values.append(time.perf_counter() - began)
        if kind.ends == "CANCELLED":
            await asyncio.sleep(CANCELLED_AFTER_S)
            await job.cancel()
        await job.wait(PATIENCE_S, raise_on_failure=False)
    except Busy:
        load.refused += 1
        return
    except (TidegateError, TimeoutError) as error:
        load.ended.failures.append(f"{kind.name}: {type(error).__name__}: {error}")
        return
    load.ended.values.append(time.perf_counter() - began)
    if job.status != kind.ends:
        why = (job.exit or {}).get("message", "without a reason")
        load.ended.failures.append(f"{kind.name}: job {job.id} ended {job.status}: {why}")


async def _watched(client: AsyncClient) -> None:
    """Ask once a second for what a page that shows the server asks for."""
    asked: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: _first(client.workers.list()),
        lambda: _first(client.queues.list()),
        lambda: _first(client.jobs(page_size=20)),
    )
    while True:
        for ask in asked:
            with contextlib.suppress(TidegateError):
                await ask()
        await asyncio.sleep(1.0)


async def _first(items: AsyncIterator[object]) -> object:
    async for item in items:
        return item
    return None
