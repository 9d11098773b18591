"""`SqlStore`: the ports of `tidegate.ports` over one database. Each method is one transaction of a function next door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tidegate.core.job import Assignment, AttemptEnd, AttemptKey, NewJob, Source
from tidegate.core.plan import Plan, Start
from tidegate.errors import InvalidInput
from tidegate.ports import (
    Accepted,
    Cancelled,
    Changes,
    Event,
    JobFilter,
    JobRecord,
    LostAttempt,
    QueueRecord,
    TaskRecord,
    WorkerInfo,
)
from tidegate.store import attempts, care, jobs, queues, records, reports, schedule, sources
from tidegate.store.engine import DUPLICATE, UNSTORABLE, Database
from tidegate.store.values import to_micros
from tidegate.store.versions import prepare

_UNSTORABLE = (TypeError, ValueError, RecursionError, *UNSTORABLE)


class SqlStore:
    """The store on a database. Thread-safe; every method blocks.

    `url` is SQLAlchemy's, such as `sqlite:////data/tidegate.db`. `max_concurrent` caps the running tasks of each queue
    that has no cap of its own; None: no cap. Raises Unavailable when a newer Tidegate has made the database.
    """

    def __init__(self, url: str, *, max_concurrent: int | None = None) -> None:
        self._db = Database(url)
        self._cap = max_concurrent
        try:
            prepare(self._db, url)
        except BaseException:
            self._db.close()
            raise

    # Jobs

    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        try:
            return self._db.write(_add_jobs, jobs)
        except _UNSTORABLE as error:
            if len(jobs) == 1:
                return [_unstorable(error)]
        # One of them cannot be written (text that is no Unicode, a spec that is no JSON): find it.
        half = len(jobs) // 2
        return self.add_jobs(jobs[:half]) + self.add_jobs(jobs[half:])

    def request_cancel(self, job_id: int, at: datetime) -> Cancelled:
        return self._db.write(jobs.request_cancel, job_id, at)

    def job(self, job_id: int) -> JobRecord:
        return self._db.read(records.one_job, job_id)

    def jobs(self, filter: JobFilter) -> list[JobRecord]:
        return self._db.read(records.list_jobs, filter)

    def tasks(self, job_id: int, *, after: int = 0, limit: int = 100) -> list[TaskRecord]:
        return self._db.read(records.list_tasks, job_id, after, limit)

    def events(self, job_id: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return self._db.read(records.list_events, job_id, after, limit)

    def waiting_count(self) -> int:
        return self._db.read(records.waiting_count)

    # Schedule

    def changes(self, cursor: int) -> Changes:
        return self._db.read(schedule.changes, cursor, self._cap)

    def commit(self, plan: Plan, at: datetime) -> list[Start]:
        return self._db.write(schedule.commit, plan, at, self._cap)

    def wake_scheduled(self, now: datetime) -> datetime | None:
        return self._db.write(schedule.wake_scheduled, now)

    # Attempts

    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        return self._db.write(attempts.register, worker, at, lease_s)

    def beat(
        self, worker: WorkerInfo, generation: int, at: datetime, lease_s: float
    ) -> list[AttemptKey] | None:
        return self._db.write(attempts.beat, worker, generation, at, lease_s)

    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        return self._db.write(attempts.unregister, worker_id, generation, at)

    def claim(
        self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime
    ) -> list[Assignment]:
        return self._db.write(attempts.claim, worker_id, generation, keys, at)

    def report(self, ends: Sequence[AttemptEnd]) -> list[AttemptEnd]:
        try:
            return self._db.write(reports.report, ends)
        except DUPLICATE:  # a source's name is taken, which is rare enough not to look for it each time
            return self._db.write(reports.report, ends, look_for_names=True)

    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        return self._db.write(reports.release, keys, to_micros(at))

    def release_kept(self, worker_id: str, at: datetime) -> int:
        return self._db.write(reports.release_kept, worker_id, to_micros(at))

    def lost(self, at: datetime) -> list[LostAttempt]:
        return self._db.read(attempts.lost, at)

    # Sources

    def add_source(self, source: Source) -> None:
        self._db.write(sources.add_source, source)

    def source(self, name: str) -> Source:
        return self._db.read(sources.one_source, name)

    def sources(self, *, owner: str | None = None, after: str = "", limit: int = 100) -> list[Source]:
        return self._db.read(sources.list_sources, owner, after, limit)

    def sources_named(self, names: Iterable[str]) -> list[Source]:
        return self._db.read(sources.sources_named, names)

    def delete_source(self, name: str) -> Source:
        return self._db.write(sources.delete_source, name)

    def managed_paths(self) -> set[str]:
        return self._db.read(sources.managed_paths)

    # Queues

    def queues(self) -> list[QueueRecord]:
        return self._db.read(queues.all_queues, self._cap)

    def queue(self, name: str) -> QueueRecord:
        return self._db.read(queues.one_queue, name, self._cap)

    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrent: int | None = None,
        no_cap: bool = False,
        weight: int | None = None,
    ) -> QueueRecord:
        return self._db.write(
            queues.set_queue,
            name,
            self._cap,
            paused=paused,
            max_concurrent=max_concurrent,
            no_cap=no_cap,
            weight=weight,
        )

    # Care

    def prune(self, before: datetime) -> int:
        count = 0
        while pruned := self._db.write(care.prune, before):
            count += len(pruned)
        return count

    def check(self) -> None:
        self._db.read(care.check)

    def close(self) -> None:
        self._db.close()


_add_jobs = jobs.add_jobs  # inside the class `jobs` is the method


def _unstorable(error: Exception) -> InvalidInput:
    return InvalidInput(
        f"The job cannot be stored: {error}. Send plain JSON values and valid Unicode.", code="unstorable"
    )


def open_store(url: str, *, max_concurrent: int | None = None) -> SqlStore:
    """Open the database of record, creating or upgrading its tables first."""
    return SqlStore(url, max_concurrent=max_concurrent)
