"""The fault suite: a cluster of real processes is hurt at random while clients use it, and its history is judged.

Each seed is a run of its own on the same cluster: work is submitted for some seconds while 5 to 20 faults happen, then
everything is healed, and every job must end, once, with the right effect (`history.judge`). Times are scaled: what takes
90 s in earnest (a dead worker) takes a few seconds here. Run as `tidegate verify`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tidegate.client.client import Client, connect
from tidegate.client.job import Job
from tidegate.errors import LedgerError, TidegateError
from tidegate.ports import Store
from tidegate.testing.cluster import Services
from tidegate.testing.fault_kinds import FAULTS, World
from tidegate.testing.fault_load import Clients
from tidegate.testing.history import AttemptSeen, Fault, History, JobSeen
from tidegate.testing.servers import Redis

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
_AUDIT_EVERY_S = 0.5


class Verdict(NamedTuple):
    """One run: its history and how long it took."""

    history: History
    took_s: float


def run_seed(world: World, seed: int) -> Verdict:
    """One run. The cluster must be whole; it is whole again afterwards. Raises RuntimeError when it cannot be healed."""
    began = time.monotonic()
    world.chance.seed(seed)
    history = History(seed)
    with Clients(world.cluster, world.archive, history, seed) as clients, _Audits(world.store, history):
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


def _client(world: World) -> Client:
    return connect(world.cluster.servers[0].url)
