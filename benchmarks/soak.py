"""Half an hour at half of the load that the machine can take, both ways to run Tidegate: does anything grow?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, at_most, claim, median, number
from benchmarks.load import Load, at_rate, connected
from benchmarks.load import at_most as as_many_as_possible
from benchmarks.servers import ROOT, memory, running, scratch, tidegate, tree
from tidegate.testing.cluster import Cluster
from tidegate.testing.faults import services_of
from tidegate.testing.servers import PostgreSQL, Redis

TITLE = "Half an hour at half load"
ABOUT = (
    "`tidegate serve` on its own, and beside it at the same time a server and a worker on PostgreSQL and Redis. Each alone is "
    "first asked for its best with the mix of jobs (`select 1`, a sum over 2 million rows, one SQL statement checked, long "
    "queries that are cancelled; lists read once a second); then jobs come to each by chance at a quarter of its best, so "
    "that the machine, clients included, bears half of what it can. Every 10 s memory, open files and threads of each process "
    "are read. Compared are the last sixth and the second sixth, for processes that lived throughout: of memory the medians; "
    "of threads, and of files of each kind, those came to stay by which the fewest of the last sixth are more than the most "
    "of the second, since connections and pipes come and go with what is asked. A leak of one in a thousand jobs would be "
    "found. The spans of both sixths stand beside."
)
TIME_LIMIT_S = 3000.0

SHARE = 0.25
_EVERY_S = 10.0
_CALLERS = 6
_SIXTH = 6


class Sample(NamedTuple):
    """One process at one instant."""

    rss_bytes: int
    files: Counter[str]
    threads: int


class Watched(NamedTuple):
    """A way to run Tidegate: where it answers, and the processes whose trees are read, by name."""

    name: str
    url: str
    roots: dict[str, int]


class Grown(NamedTuple):
    """A process, from the second sixth of the time to the last: how many times its memory, and what more of the rest."""

    name: str
    rss_bytes: float
    memory_times: float
    came_to_stay: Counter[str]
    spans: str


def run(quick: bool) -> list[Figure]:
    for_s, best_s = (60.0, 5.0) if quick else (1800.0, 15.0)
    with _standing() as ways:
        loads, samples = asyncio.run(_soak(ways, for_s, best_s))
    grown = [one for way in ways for one in _grown(way.name, samples[way.name])]
    worst = max(grown, key=lambda one: one.memory_times)
    return [
        Figure(
            f"memory of a process, the one that grew most, after {for_s / 60:g} minutes",
            worst.memory_times,
            "×",
            at_most(1.05),
            "; ".join(f"{one.name} {_mib(one.rss_bytes)} MiB, {one.memory_times:.3f}" for one in grown),
        ),
        Figure(
            "open files and threads that came to stay, in all processes",
            sum(one.came_to_stay.total() for one in grown),
            "",
            at_most(0),
            "; ".join(f"{one.name} {one.spans}{_more(one.came_to_stay)}" for one in grown),
        ),
        *[_work_of(name, load) for name, load in loads.items()],
        claim(
            "jobs lost, refused for good, or with another end than theirs",
            [f"{name}: {wrong}" for name, load in loads.items() for wrong in load.wrong]
            + [f"{name}: {load.refused} refused" for name, load in loads.items() if load.refused],
        ),
    ]


def _work_of(name: str, load: Load) -> Figure:
    return Figure(
        f"{name}: jobs that ended",
        load.per_second,
        "jobs/s",
        None,
        f"{len(load.ended.values):,} in all; from submission to end p50 / p99 / max {load.ended.summary} ms",
    )


@contextlib.contextmanager
def _standing() -> Iterator[list[Watched]]:
    """Both ways, on folders of their own."""
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(running(tidegate, log_level="warning"))
        database = closing.enter_context(PostgreSQL(durable=True))
        redis = closing.enter_context(Redis())
        cluster = Cluster(
            closing.enter_context(scratch()) / "cluster",
            services_of(database.create_database("soak"), redis),
            {"log_level": "warning"},
            servers=1,
            workers=1,
            clocks=False,
        )
        closing.callback(cluster.close)
        with contextlib.chdir(ROOT):
            cluster.start()
        yield [
            Watched("one machine", f"http://127.0.0.1:{server.port}", {"server": server.pid}),
            Watched(
                "cluster",
                cluster.servers[0].url,
                {"server": cluster.servers[0].pid, "worker": cluster.workers[0].pid},
            ),
        ]


async def _soak(
    ways: list[Watched], for_s: float, best_s: float
) -> tuple[dict[str, Load], dict[str, list[dict[str, Sample]]]]:
    chance = random.Random(20)
    rates = {}
    for way in ways:
        async with connected(way.url) as client:
            await as_many_as_possible(client, _CALLERS, 2.0, chance)  # warm
            best = await as_many_as_possible(client, _CALLERS, best_s, chance)
            rates[way.name] = SHARE * best.per_second
    async with asyncio.TaskGroup() as group:
        loads = {way.name: group.create_task(_load(way.url, rates[way.name], for_s)) for way in ways}
        samples = {way.name: group.create_task(_samples(way, for_s)) for way in ways}
    return (
        {name: task.result() for name, task in loads.items()},
        {name: task.result() for name, task in samples.items()},
    )


async def _load(url: str, rate: float, for_s: float) -> Load:
    async with connected(url) as client:
        return await at_rate(client, rate, for_s, random.Random(url))


async def _samples(way: Watched, for_s: float) -> list[dict[str, Sample]]:
    return [sample async for sample in _every(way, min(_EVERY_S, for_s / 30), for_s)]


async def _every(way: Watched, every_s: float, for_s: float) -> AsyncIterator[dict[str, Sample]]:
    began = time.monotonic()
    for number_of in range(1, int(for_s / every_s) + 1):
        await asyncio.sleep(max(began + number_of * every_s - time.monotonic(), 0))
        yield await asyncio.to_thread(_sample, way)


def _sample(way: Watched) -> dict[str, Sample]:
    """All processes of a way that live just now, by name and number."""
    found = {}
    for role, root in way.roots.items():
        for pid in tree(root):
            with contextlib.suppress(OSError):
                name = role if pid == root else f"{role}'s {Path(f'/proc/{pid}/comm').read_text().strip()}"
                found[f"{name} {pid}"] = Sample(
                    memory([pid])[0], _open_files(pid), len(os.listdir(f"/proc/{pid}/task"))
                )
    return found


def _open_files(pid: int) -> Counter[str]:
    """Count what a process has open by kind: `socket`, `pipe`, `anon_inode`, or the name of a file."""
    kinds: Counter[str] = Counter()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            target = os.readlink(entry.path)
            kinds[Path(target).name if target.startswith("/") else target.partition(":")[0]] += 1
    return kinds


def _grown(way: str, samples: list[dict[str, Sample]]) -> list[Grown]:
    """Each process that lived throughout, in the order first seen."""
    part = max(len(samples) // _SIXTH, 1)
    early, late = samples[part : 2 * part], samples[-part:]
    lasting = [name for name in early[0] if all(name in sample for sample in (*early, *late))]
    return [_grown_one(way, name, early, late) for name in lasting]


def _grown_one(way: str, name: str, early: list[dict[str, Sample]], late: list[dict[str, Sample]]) -> Grown:
    before, after = ([sample[name] for sample in samples] for samples in (early, late))
    kinds = {kind for sample in after for kind in sample.files}
    stayed = {kind: _came_to_stay(before, after, _of_kind(kind)) for kind in kinds}
    stayed["thread"] = _came_to_stay(before, after, _threads)
    memory_bytes = [median([float(one.rss_bytes) for one in samples]) for samples in (before, after)]
    return Grown(
        f"{way}, {name.rpartition(' ')[0]}",
        memory_bytes[1],
        memory_bytes[1] / memory_bytes[0],
        +Counter(stayed),
        f"{_course(before, after, _files)} files, {_course(before, after, _threads)} threads",
    )


def _files(sample: Sample) -> int:
    return sample.files.total()


def _of_kind(kind: str) -> Callable[[Sample], int]:
    return lambda sample: sample.files[kind]


def _threads(sample: Sample) -> int:
    return sample.threads


def _came_to_stay(before: list[Sample], after: list[Sample], count: Callable[[Sample], int]) -> int:
    return max(min(map(count, after)) - max(map(count, before)), 0)


def _course(before: list[Sample], after: list[Sample], count: Callable[[Sample], int]) -> str:
    was, became = _span(before, count), _span(after, count)
    return was if was == became else f"{was} to {became}"


def _span(samples: list[Sample], count: Callable[[Sample], int]) -> str:
    least, most = min(map(count, samples)), max(map(count, samples))
    return f"{least}" if least == most else f"{least}–{most}"


def _more(came_to_stay: Counter[str]) -> str:
    return "".join(f", {count:+} {kind}" for kind, count in came_to_stay.items())


def _mib(value: float) -> str:
    return number(value / 1024 / 1024)
