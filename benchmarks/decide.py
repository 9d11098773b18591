"""The scheduler's decisions alone: the pure core with a large backlog and many workers, no store and no clock."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from benchmarks.figures import Figure, at_most, median, number, percentile
from tidegate.app.server import GC_THRESHOLDS
from tidegate.core import scheduler
from tidegate.core.job import Priority, Shape, TaskKey, WaitingTask
from tidegate.core.plan import QueueView, Snapshot, Start, WorkerView
from tidegate.core.queueing import Backlog
from tidegate.core.resources import GIB, MIB, Resources

TITLE = "The scheduler's decisions alone"
ABOUT = (
    "The pure core, without store, network or work: 100,000 waiting tasks in 48 shapes of four owners and three queues "
    "(192 lines or more), 1,000 workers in three sizes. *Filling*: the cluster starts empty and is filled. *Turning over*: "
    "it is full, in each pass 200 running tasks, taken by chance, end and what fits takes their place. A pass looks at "
    "every worker and the head of every line, however little has ended; what that costs is shown by passes after 5 ends. A "
    "decision is one start, with its share of the pass: bringing the backlog up to date, the heads of "
    "the lines, and the refusal of all that fits nowhere. Python's collector is set as the server sets it."
)
TIME_LIMIT_S = 300.0

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SIZES = (
    Resources(8_000, 32 * GIB, 100 * GIB),
    Resources(32_000, 128 * GIB, 400 * GIB),
    Resources(64_000, 256 * GIB, 800 * GIB),
)
_SHAPES = [
    Shape(Resources(cpu_milli, memory_mib * MIB, GIB))
    for cpu_milli in (250, 500, 1_000, 2_000, 4_000, 8_000)
    for memory_mib in (256, 512, 1_024, 2_048, 4_096, 8_192, 12_288, 16_384)
]


class _World:
    """A cluster that remembers what runs where, so that it can end some of it."""

    def __init__(self, workers: int, waiting: int, rng: random.Random) -> None:
        self.rng = rng
        self.backlog = Backlog()
        self.workers = [
            WorkerView(f"worker-{index:04}", 1, _SIZES[index % len(_SIZES)], Resources())
            for index in range(workers)
        ]
        self.index = {worker.id: place for place, worker in enumerate(self.workers)}
        self.running: list[Start] = []
        self.next_job = 1
        self.backlog.apply(self.fresh(waiting), ())

    def fresh(self, count: int) -> list[WaitingTask]:
        first, self.next_job = self.next_job, self.next_job + count
        return [
            WaitingTask(
                TaskKey(job, 1),
                f"queue-{job % 3}",
                f"owner-{self.rng.randrange(4)}",
                self.rng.choice((Priority.LOW, Priority.NORMAL, Priority.NORMAL, Priority.HIGH)),
                self.rng.choice(_SHAPES),
                _NOW + timedelta(milliseconds=job),
                0,
            )
            for job in range(first, first + count)
        ]

    def end(self, count: int) -> list[WaitingTask]:
        """End some of what runs; as many newcomers, so that the backlog keeps its length."""
        for _ in range(min(count, len(self.running))):
            place = self.rng.randrange(len(self.running))
            self.running[place], self.running[-1] = self.running[-1], self.running[place]
            self._allocate(self.running.pop(), -1)
        return self.fresh(count)

    def decide(self, newcomers: list[WaitingTask]) -> tuple[int, float]:
        """One pass as the cycle makes it; how many started, and the seconds that took."""
        queues = {f"queue-{number}": QueueView(f"queue-{number}") for number in range(3)}
        workers = tuple(self.workers)
        began = time.perf_counter()
        self.backlog.apply(newcomers, ())
        snapshot = Snapshot(workers, queues, self.backlog.lines(scheduler.BUDGET))
        plan = scheduler.plan(snapshot, _NOW)
        self.backlog.started(start.task for start in plan.starts)
        took_s = time.perf_counter() - began
        for start in plan.starts:
            self._allocate(start, 1)
        self.running.extend(plan.starts)
        return len(plan.starts), took_s

    def _allocate(self, start: Start, sign: int) -> None:
        place = self.index[start.worker_id]
        worker, asked = self.workers[place], start.resources
        allocated = worker.allocated + asked if sign > 0 else worker.allocated - asked
        self.workers[place] = replace(worker, allocated=allocated)


def run(quick: bool) -> list[Figure]:
    workers, waiting, passes = (100, 10_000, 10) if quick else (1_000, 100_000, 50)
    with _collector_of_the_server():
        return _figures(_World(workers, waiting, random.Random(81)), passes)


@contextmanager
def _collector_of_the_server() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _figures(world: _World, passes: int) -> list[Figure]:
    filling = _fill(world)
    return [
        _figure("filling", filling, f"{len(filling)} passes, {len(world.running):,} started"),
        _figure(
            "turning over", [_turn(world, 200) for _ in range(passes)], f"{passes} passes, 200 ends each"
        ),
        _trickle([_turn(world, 5) for _ in range(passes)]),
    ]


def _fill(world: _World) -> list[tuple[int, float]]:
    """Passes until the cluster is full; the backlog is kept at its length."""
    passes = [world.decide([])]
    while passes[-1][0]:
        passes.append(world.decide(world.fresh(passes[-1][0])))
    return passes[:-1]


def _turn(world: _World, ends: int) -> tuple[int, float]:
    return world.decide(world.end(ends))


def _figure(what: str, passes: list[tuple[int, float]], note: str) -> Figure:
    """Time of all passes over the starts of all passes, so that fruitless passes are paid for too."""
    starts, seconds = sum(count for count, _ in passes), sum(took_s for _, took_s in passes)
    times_ms = [took_s * 1e3 for _, took_s in passes]
    note = f"{note}; a pass takes {number(median(times_ms))} ms at the median, {number(percentile(times_ms, 0.99))} at p99"
    return Figure(
        f"a decision, {what}", seconds / starts * 1e6 if starts else float("inf"), "µs", at_most(100), note
    )


def _trickle(passes: list[tuple[int, float]]) -> Figure:
    times_ms = [took_s * 1e3 for _, took_s in passes]
    return Figure(
        "a pass after 5 ends", median(times_ms), "ms", note=f"p99 {number(percentile(times_ms, 0.99))} ms"
    )
