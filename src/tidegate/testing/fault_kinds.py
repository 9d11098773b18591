"""What can be done to a cluster of real processes, each kind of fault a function, and how it is undone."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.core.states import JobStatus
from tidegate.errors import TidegateError
from tidegate.ports import JobFilter, Launcher, Store
from tidegate.testing.cluster import FAKETIME, Cluster, Member
from tidegate.testing.servers import Redis, SqlServer

_CLOCK_STEPS_S = (-3600, -30, 45, 7200)


@dataclass
class World:
    """What faults can hurt. `store` and `launcher` are ours, for audits and for messages that come twice."""

    cluster: Cluster
    database: SqlServer
    redis: Redis | None
    store: Store
    launcher: Launcher
    chance: random.Random
    archive: Path | None = None
    """Of `fault_load.FILES` SQL files, where the workers see it; None where there is no linter."""
    mending: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """What to undo, and when."""

    def later(self, least_s: float, most_s: float, mend: Callable[[], None]) -> None:
        self.mending.append((time.monotonic() + self.chance.uniform(least_s, most_s), mend))


FaultKind = Callable[[World], str | None]
"""Does it; the name of what was hurt, or None when there is nothing to hurt at the moment."""


def kill(world: World) -> str | None:
    """`kill -9` of a server or a worker, which is started again after 0 to 2 s."""
    member = _one_of(world, world.cluster.members)
    if member is None:
        return None
    member.kill()
    world.later(0.0, 2.0, lambda: _start(member))
    return member.name


def pause(world: World) -> str | None:
    """SIGSTOP of a server or a worker, for half a lease to twice what makes a worker dead; then SIGCONT."""
    member = _one_of(world, world.cluster.members)
    if member is None:
        return None
    member.pause()
    world.later(1.5, 9.0, member.resume)
    return member.name


def forget_cache(world: World) -> str | None:
    """FLUSHALL."""
    if world.redis is None:
        return None
    with contextlib.suppress(OSError):
        world.redis.flush()
    return "redis"


def restart_cache(world: World) -> str | None:
    """Redis is killed, with the messages in it, and comes back empty."""
    if world.redis is None:
        return None
    world.redis.kill()
    time.sleep(world.chance.uniform(0.0, 1.5))
    world.redis.start()
    return "redis"


def restart_database(world: World) -> str | None:
    """`kill -9` of the database with all its processes; it comes back with what was committed."""
    world.database.kill()
    time.sleep(world.chance.uniform(0.0, 1.5))
    world.database.start()
    return world.database.name


def cut_link(world: World) -> str | None:
    """No packet gets from or to a worker for a while, and nobody is told."""
    if not world.cluster.islands:
        return None
    island = world.chance.choice(world.cluster.islands)
    island.cut()
    world.later(0.5, 9.0, island.mend)
    return island.name.rpartition("-")[2]


def deliver_again(world: World) -> str | None:
    """Messages that workers have had before come once more: of attempts that run, have ended or were lost."""
    starts = _starts_of_live(world.store)
    stale = [
        start._replace(key=AttemptKey(*start.key[:2], max(start.key.attempt - 1, 1))) for start in starts
    ]
    world.launcher.launch([*starts, *stale])
    return f"{len(starts)} attempts"


def step_clock(world: World) -> str | None:
    """The time of day of a server or a worker jumps, and later back."""
    member = _one_of(world, world.cluster.members)
    if FAKETIME is None or member is None:
        return None
    seconds = world.chance.choice(_CLOCK_STEPS_S)
    member.step_clock(seconds)
    world.later(1.0, 6.0, lambda: member.step_clock(0))
    return f"{member.name} by {seconds:+d} s"


FAULTS: Mapping[str, tuple[FaultKind, int]] = {
    "kill": (kill, 4),
    "pause": (pause, 3),
    "forget cache": (forget_cache, 2),
    "restart cache": (restart_cache, 1),
    "restart database": (restart_database, 1),
    "cut link": (cut_link, 3),
    "deliver again": (deliver_again, 3),
    "step clock": (step_clock, 2),
}
"""Every fault, and how often it is chosen beside the others."""


def _one_of(world: World, members: Sequence[Member]) -> Member | None:
    well = [member for member in members if member.alive and not member.paused]
    return world.chance.choice(well) if well else None


def _start(member: Member) -> None:
    if not member.alive:
        member.start()


def _starts_of_live(store: Store) -> list[Start]:
    """Starts as they were launched, of what lives now; nothing while the database is away."""
    with contextlib.suppress(TidegateError):
        generations = {worker.id: worker.generation for worker in store.changes(0).workers}
        return [
            Start(attempt.key, "", attempt.worker_id, generations.get(attempt.worker_id, 1), Resources())
            for job in _live_jobs(store)
            for task in store.tasks(job)
            for attempt in task.attempts
        ]
    return []


def _live_jobs(store: Store) -> Iterator[int]:
    return (job.id for job in store.jobs(JobFilter(status=JobStatus.RUNNING, limit=100)))
