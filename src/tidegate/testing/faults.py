"""The fault suite: a cluster of real processes is hurt at random while clients use it, and its history is judged.

Each seed is a run of its own on the same cluster: work is submitted for some seconds while 5 to 20 faults happen, then
everything is healed, and every job must end, once, with the right effect (`history.judge`). Times are scaled: what takes
90 s in earnest (a dead worker) takes a few seconds here. Run as `tidegate verify`.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.client.client import Client, connect
from tidegate.client.job import Job
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.core.states import JobStatus
from tidegate.errors import LedgerError, TidegateError
from tidegate.ports import JobFilter, Launcher, Store
from tidegate.testing.cluster import FAKETIME, Cluster, Member, Services
from tidegate.testing.history import (
    AttemptSeen,
    CancelTold,
    Fault,
    History,
    JobSeen,
    Submitted,
)
from tidegate.testing.servers import Redis, SqlServer

MEMBER_SETTINGS: Mapping[str, object] = {
    "beat_s": 1.0,
    "lease_s": 3.0,
    "grace_s": 1.0,
    "max_concurrent": 1000,
    "max_losses": 1000,  # each loss is our doing, not the job's
    "headroom_memory": "0",
    "memory": "1GiB",
    "cpus": 2,
    "yield_cpu": "off",
    "pressure": "watch",  # the machine may be full of other tests, and slow is what faults make things
    "max_crashes": 1000,  # nor are crashes the program's own
    "log_level": "warning",
}
"""A worker is suspect after 3 s and dead a while later; both run several small jobs at once."""
FAULTY_S = 8.0
"""How long faults happen in a run."""
ENDS_WITHIN_S = 60.0
"""How long after the last fault a job may take to end: work over capacity, and three leases, with room for a slow machine."""
_CLIENTS = 3
_PAUSE_S = (0.02, 0.25)
_LONGEST_PAUSE_S = 5.0
_CANCELLED = 0.2
_LONG = 0.15
_MANY = 0.08
"""Jobs that lint an archive, whose files run in batches."""
FILES = 40
_CLOCK_STEPS_S = (-3600, -30, 45, 7200)
_AUDIT_EVERY_S = 0.5


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
    """Of `FILES` SQL files, where the workers see it; None where there is no linter."""
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


class Verdict(NamedTuple):
    """One run: its history and how long it took."""

    history: History
    took_s: float


def run_seed(world: World, seed: int) -> Verdict:
    """One run. The cluster must be whole; it is whole again afterwards. Raises RuntimeError when it cannot be healed."""
    began = time.monotonic()
    world.chance.seed(seed)
    history = History(seed)
    with _Clients(world.cluster, world.archive, history, seed) as clients, _Audits(world.store, history):
        _hurt(world, history, began)
        clients.stop()
        _heal(world)
        _settle(world, history)
    _look(world, history)
    return Verdict(history, time.monotonic() - began)


def services_of(database_url: str, redis: Redis, broker_url: str | None = None) -> Services:
    """Addresses with a place for the host's name, since members on islands know us by another."""

    def placed(url: str) -> str:
        return url.replace("{", "{{").replace("}", "}}").replace("127.0.0.1", "{host}", 1)

    return Services(placed(database_url), placed(redis.url), placed(broker_url or redis.url))


def _hurt(world: World, history: History, began: float) -> None:
    count = world.chance.randint(5, 20)
    moments = sorted(world.chance.uniform(0.3, FAULTY_S) for _ in range(count))
    names, weights = list(FAULTS), [weight for _, weight in FAULTS.values()]
    for moment in moments:
        _mend_until(world, began + moment)
        name = world.chance.choices(names, weights)[0]
        target = FAULTS[name][0](world)
        if target is not None:
            history.faults.append(Fault(name, target, round(time.monotonic() - began, 2)))


def _mend_until(world: World, moment: float) -> None:
    """Undo what is due, as long as the moment has not come."""
    while True:
        now = time.monotonic()
        due = [mend for at, mend in world.mending if at <= now]
        world.mending = [(at, mend) for at, mend in world.mending if at > now]
        for mend in due:
            mend()
        if now >= moment:
            return
        next_at = min([moment, *(at for at, _ in world.mending)])
        time.sleep(max(next_at - time.monotonic(), 0.0))


def _heal(world: World) -> None:
    world.mending.clear()
    world.cluster.heal()


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


class _Clients:
    """Clients that submit and cancel on whichever server answers, until they are stopped."""

    def __init__(self, cluster: Cluster, archive: Path | None, history: History, seed: int) -> None:
        self._cluster = cluster
        self._archive = archive
        self._history = history
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed}/{number}"), f"{seed}-{number}"))
            for number in range(_CLIENTS)
        ]

    def __enter__(self) -> _Clients:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let each finish what it is about. Call before the cluster is whole again: what waits for an answer then gets it."""
        self._stopped.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    def _work(self, chance: random.Random, name: str) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            many = self._archive is not None and chance.random() < _MANY
            answer = FILES if many else chance.randrange(1_000_000)
            job = self._submit(chance, f"{name}-{number}", answer, many=many)
            if job is not None:
                self._history.submitted.append(Submitted(job.id, f"{name}-{number}", answer, many))
                if chance.random() < _CANCELLED:
                    self._stopped.wait(chance.uniform(0.0, 1.0))
                    self._cancel(chance, job.id)
            self._stopped.wait(chance.uniform(*_PAUSE_S))

    def _submit(self, chance: random.Random, key: str, answer: int, *, many: bool) -> Job | None:
        """Ask one server after the other under one key until one says yes, however long that takes."""
        long = chance.random() < _LONG
        rows = chance.randrange(5_000_000, 40_000_000) if long else 1
        sql = f"select any_value({answer}) as answer, max(hash(i)) as h from range({rows}) t(i)"
        while True:
            with self._some_server(chance) as client:
                if client is not None and many:
                    archive = str(self._archive)
                    return client.submit(
                        "lint",
                        zip_file_path=archive,
                        cache=False,
                        idempotency_key=key,
                        memory="300MiB",
                        cpus=0.5,
                    )
                if client is not None:
                    return client.sql(
                        sql, idempotency_key=key, memory="128MiB", cpus=0.5, max_attempts=3, timeout_s=60.0
                    )

    def _cancel(self, chance: random.Random, job_id: str) -> None:
        for _ in range(100):
            with self._some_server(chance) as client:
                if client is not None:
                    status = client.job(job_id).cancel().status
                    self._history.cancels.append(CancelTold(job_id, status))
                    return

    @contextlib.contextmanager
    def _some_server(self, chance: random.Random) -> Iterator[Client | None]:
        """A client of a server that is not known to be dead; whatever goes wrong with it only ends the block."""
        member = chance.choice(self._cluster.servers)
        if not member.ready:
            time.sleep(0.05)
            yield None
            return
        try:
            with connect(member.url) as client:
                yield client
        except (TidegateError, OSError):
            time.sleep(0.05)


class _Audits:
    """Recounts the ledger again and again while the run lasts, each time in one consistent read."""

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Audits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_AUDIT_EVERY_S):
            try:
                self._store.check()
            except LedgerError as error:
                self._history.audits.append(error.message)
            except (TidegateError, OSError):
                continue  # the database is away


def _settle(world: World, history: History) -> None:
    """Wait until every job has ended."""
    until = time.monotonic() + ENDS_WITHIN_S
    client = _client(world)
    with client:
        for told in history.submitted:
            job = client.job(told.job_id)
            with contextlib.suppress(TimeoutError):
                job.wait(max(until - time.monotonic(), 0.1), raise_on_failure=False)
            if not job.finished:
                history.unfinished.append(told.job_id)


def _look(world: World, history: History) -> None:
    """Write down what is there now that all is quiet."""
    left = world.cluster.wait_no_attempts(10.0)
    history.orphans += [f"Process {pid} works in {place}." for pid, place in left.items()]
    try:
        world.store.check()
    except LedgerError as error:
        history.audits.append(f"At the end: {error.message}")
    with _client(world) as client:
        told = {one.job_id: one.many for one in history.submitted}
        for job_id, many in told.items():
            history.jobs[job_id] = _job_seen(client.job(job_id), many=many)
        history.sources += [
            (source.name, str(source.document["job_id"]))
            for source in client.sources.list()
            if str(source.document.get("job_id")) in told
        ]


def _job_seen(job: Job, *, many: bool) -> JobSeen:
    tasks = list(job.tasks())
    first, *others = [
        tuple(AttemptSeen(one["number"], one["state"], one["worker"]) for one in task["attempts"])
        for task in tasks
    ]
    answer = None
    if job.status == "SUCCEEDED":
        answer = len(_linted(tasks)) if many else job.result().rows()[0]["answer"]
    # Those of a job that has not ended would be followed until it does, which may be never.
    told = job.events() if job.finished else ()
    events = tuple(
        (event.id, event.type) for event in told if event.id and not (many and event.document.get("task_id"))
    )
    source = (job.document.get("result") or {}).get("source")
    return JobSeen(job.id, job.status, first, events, source, answer, tuple(others))


def _linted(tasks: Iterable[Mapping[str, Any]]) -> set[str]:
    """Files that have a report, each by its own task."""
    return {task["file"] for task in tasks if task.get("verdict") == "linted"}


def write_archive(path: Path) -> None:
    """What the jobs of many tasks lint."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(FILES):
            archive.writestr(f"{number}.sql", f"SELECT a_{number} FROM b WHERE c = {number}\n")


def _client(world: World) -> Client:
    return connect(world.cluster.servers[0].url)
