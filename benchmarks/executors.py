"""`ExecutorManager` beside `ProcessPoolExecutor`: small calls, a killed process, and the event loop under full load."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from benchmarks.figures import Figure, Latencies, at_most, claim, median, number
from tidegate import ExecutorError, ExecutorManager

TITLE = "Functions of any asyncio application"
ABOUT = (
    "`ExecutorManager.run_cpu_intensive` and `loop.run_in_executor` with a `ProcessPoolExecutor` (forkserver), as many "
    "processes each as there are CPUs less one, warm, in one event loop. First `math.sqrt`, one call after the other and 100 "
    "at a time. Then every process computes, while the loop measures how late it wakes from sleeps of 5 ms. Then one of 100 "
    "calls has its process killed."
)
TIME_LIMIT_S = 120.0

Run = Callable[..., Awaitable[Any]]
_TICK_S = 0.005


def run(quick: bool) -> list[Figure]:
    return asyncio.run(_measure(300 if quick else 2000, 2.0 if quick else 8.0))


async def _measure(calls: int, for_s: float) -> list[Figure]:
    began = time.perf_counter()
    async with ExecutorManager() as executors:
        opened_ms = (time.perf_counter() - began) * 1e3
        workers = executors.sizes.cpu_workers
        with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
            loop = asyncio.get_running_loop()

            def peer(fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
                return loop.run_in_executor(pool, fn, *args)

            ours: Run = executors.run_cpu_intensive
            figures = [Figure("opening it", opened_ms, "ms"), *await _small(ours, peer, calls)]
            figures += await _lateness(ours, peer, workers, for_s)
            figures += [await _killed("ExecutorManager", ours, ExecutorError, asked=True)]
            figures += [await _killed("ProcessPoolExecutor", peer, BrokenProcessPool, asked=False)]
    return figures


async def _small(ours: Run, peer: Run, calls: int) -> list[Figure]:
    """Times of small calls, in turn."""
    one: dict[Run, list[float]] = {ours: [], peer: []}
    many: dict[Run, list[float]] = {ours: [], peer: []}
    for way in (ours, peer):
        await _one_by_one(way, 50)
    for number_of_round in range(5):
        for way in (ours, peer) if number_of_round % 2 else (peer, ours):
            one[way].append(await _one_by_one(way, calls // 5))
            many[way].append(await _at_once(way, calls // 5))
    latency_us, peer_us = (median(one[way]) * 1e6 for way in (ours, peer))
    rate, peer_rate = (1 / median(many[way]) for way in (ours, peer))
    return [
        Figure(
            "a small call, one after the other",
            latency_us,
            "µs",
            note=f"ProcessPoolExecutor {number(peer_us)} µs",
        ),
        Figure("the same, times that of ProcessPoolExecutor", latency_us / peer_us, "×", at_most(1.0)),
        Figure(
            "small calls, 100 at a time", rate, "a second", note=f"ProcessPoolExecutor {number(peer_rate)}"
        ),
        Figure(
            "the same, time of one, times that of ProcessPoolExecutor", peer_rate / rate, "×", at_most(1.0)
        ),
    ]


async def _one_by_one(way: Run, calls: int) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    for value in range(calls):
        await way(math.sqrt, value)
    return (time.perf_counter() - began) / calls


async def _at_once(way: Run, calls: int) -> float:
    """Seconds of a call, with 100 of them on their way."""
    began = time.perf_counter()
    for start in range(0, calls, 100):
        await asyncio.gather(*(way(math.sqrt, value) for value in range(start, min(start + 100, calls))))
    return (time.perf_counter() - began) / calls


def compute(for_s: float) -> int:
    """Keep a CPU busy."""
    until, rounds = time.monotonic() + for_s, 0
    while time.monotonic() < until:
        sum(range(2000))
        rounds += 1
    return rounds


async def _lateness(ours: Run, peer: Run, workers: int, for_s: float) -> list[Figure]:
    """How late the loop is when nothing runs, and when every process computes."""
    idle = await _late(for_s)
    seen = {}
    for name, way in (("ExecutorManager", ours), ("ProcessPoolExecutor", peer)):
        work = [asyncio.ensure_future(way(compute, for_s)) for _ in range(workers)]
        seen[name] = await _late(for_s * 0.8)
        await asyncio.gather(*work)
    times = seen["ExecutorManager"]
    return [
        Figure(
            "the event loop's lateness while all processes compute, p99",
            times.ms(0.99),
            "ms",
            at_most(10),
            f"p50 / p99 / max {times.summary} ms; idle {idle.summary}; ProcessPoolExecutor "
            f"{seen['ProcessPoolExecutor'].summary}",
        )
    ]


async def _late(for_s: float) -> Latencies:
    late: list[float] = []
    until = time.perf_counter() + for_s
    while (began := time.perf_counter()) < until:
        await asyncio.sleep(_TICK_S)
        late.append(max(time.perf_counter() - began - _TICK_S, 0.0))
    return Latencies(late, [])


def process_id() -> int:
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _killed(name: str, way: Run, error: type[Exception], *, asked: bool) -> Figure:
    """Of 100 calls one kills its process: how many fail, and whether the next call succeeds."""
    work = [way(die) if value == 50 else way(math.sqrt, value) for value in range(100)]
    answers = await asyncio.gather(*work, return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    try:
        after = "the next call succeeds" if await way(math.sqrt, 4) == 2.0 else "the next call is wrong"
    except error as fault:
        after = f"the next call fails: {type(fault).__name__}"
    if not asked:
        return Figure(
            f"calls that fail with one killed process of 100, {name}", len(failed), "calls", note=after
        )
    wrong = [f"{len(failed)} calls failed"] if len(failed) != 1 else []
    wrong += [] if after == "the next call succeeds" else [after]
    return claim(f"calls beside the killed one that fail, {name}", wrong, f"one of 100 fails; {after}")
