"""`MemoryStore`: every port of the store in plain Python, for tests and simulations. It passes the suite of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from tidegate.core.job import (
    Assignment,
    AttemptEnd,
    AttemptKey,
    AttemptState,
    JobStatus,
    NewJob,
    Source,
    TaskKey,
    TaskState,
)
from tidegate.core.ledger import Ledger
from tidegate.core.plan import Plan, QueueView, Start, WorkerView
from tidegate.errors import LedgerError, NotFound, TidegateError
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
from tidegate.store import rules
from tidegate.store.queues import check_queue_settings
from tidegate.store.sources import not_found
from tidegate.testing.memory_rows import (
    MemoryAttempt,
    MemoryJob,
    MemoryTask,
    MemoryWorker,
    attempt_record,
    new_memory_job,
)

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT_CAP = object()


def _locked(
    method: Callable[Concatenate[MemoryStore, P], R],
) -> Callable[Concatenate[MemoryStore, P], R]:
    @wraps(method)
    def call(self: MemoryStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return call


class _Queue:
    """A queue's settings; its counts are made when asked for."""

    def __init__(self) -> None:
        self.weight, self.paused = 1, False
        self.cap: object = _DEFAULT_CAP


class MemoryStore:
    """A store that forgets everything when it goes. Thread-safe by one lock; counts by looking, not by counters.

    `max_concurrent` caps the running tasks of each queue that has no cap of its own; None: no cap.
    """

    def __init__(self, *, max_concurrent: int | None = None) -> None:
        self._lock = threading.RLock()
        self._cap = max_concurrent
        self._jobs: dict[int, MemoryJob] = {}
        self._events: list[Event] = []
        self._sources: dict[str, Source] = {}
        self._reserved: dict[str, int] = {}
        self._queues: dict[str, _Queue] = {}
        self._workers: dict[str, MemoryWorker] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._ledger = Ledger()
        self._kept: set[AttemptKey] = set()
        self._last_job = self._last_change = self._last_event = 0

    # Jobs

    @_locked
    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        answers: list[Accepted | Exception] = []
        change = self._next_change() if jobs else 0
        for job in jobs:
            try:
                answers.append(self._add(job, change))
            except TidegateError as error:
                answers.append(error)
        return answers

    def _add(self, order: NewJob, change: int) -> Accepted:
        key = (order.owner, order.idempotency_key or "")
        if order.idempotency_key is not None and key in self._keys:
            earlier = self._jobs[self._keys[key]]
            if earlier.order.request_digest != order.request_digest:
                raise rules.key_conflict(order.idempotency_key, earlier.id)
            return Accepted(earlier.id, created=False)
        rules.check_new_job(order)
        if order.result_name:
            self._check_name(order.result_name)
        job = new_memory_job(self._last_job + 1, order, change)
        self._last_job = job.id
        self._jobs[job.id] = job
        self._queues.setdefault(order.queue, _Queue())
        if order.result_name:
            self._reserved[rules.name_key(order.result_name)] = job.id
        if order.idempotency_key is not None:
            self._keys[key] = job.id
        message = rules.accepted_message(order.queue, order.priority, len(order.tasks))
        self._tell(job.id, None, order.created_at, "accepted", message)
        return Accepted(job.id)

    def _check_name(self, name: str) -> None:
        key = rules.name_key(name)
        if key in self._sources or key in self._reserved:
            raise rules.name_conflict(name, self._reserved.get(key))

    @_locked
    def request_cancel(self, job_id: int, at: datetime) -> Cancelled:
        job = self._job(job_id)
        if job.status().final:
            return Cancelled(job.status(), 0, ())
        live = tuple(a.record.key for task in job.tasks if (a := task.live()) is not None)
        if job.cancel_requested_at is not None:
            return Cancelled(job.status(), 0, live)
        job.cancel_requested_at = at
        waited = [task for task in job.tasks if task.state in (TaskState.SCHEDULED, TaskState.QUEUED)]
        change = self._next_change() if waited else 0
        for task in waited:
            task.state, task.not_before, task.change = TaskState.CANCELLED, None, change
            task.exit = rules.CANCELLED_WAITING
        if job.status().final:
            job.exit = job.exit or rules.CANCELLED_WAITING
            job.finish(at)
            self._free(job)
        self._tell_cancel(job, at, len(waited), len(live))
        return Cancelled(job.status(), len(waited), live)

    def _tell_cancel(self, job: MemoryJob, at: datetime, waited: int, live: int) -> None:
        if not job.status().final:
            message = f"Cancel requested: {waited} waiting and {live} running tasks end now."
            self._tell(job.id, None, at, "cancel_requested", message, {"waiting": waited, "running": live})
        elif len(job.tasks) == 1:
            self._tell(job.id, None, at, "cancelled", rules.CANCELLED_WAITING.message)
        else:
            self._tell(job.id, None, at, *rules.job_ended_event(job.status(), job.counts()))

    @_locked
    def job(self, job_id: int) -> JobRecord:
        return self._job(job_id).record()

    @_locked
    def jobs(self, filter: JobFilter) -> list[JobRecord]:
        wanted = JobStatus.QUEUED if filter.status is JobStatus.ACCEPTED else filter.status
        found: list[JobRecord] = []
        for job in sorted(self._jobs.values(), key=lambda job: -job.id):
            fits = (
                (filter.before_id is None or job.id < filter.before_id)
                and (filter.kind in (None, job.order.kind))
                and (filter.queue in (None, job.order.queue))
                and (filter.owner in (None, job.order.owner))
                and (filter.not_queue != job.order.queue)
                and (wanted in (None, job.status()))
            )
            if fits:
                found.append(job.record())
        return found[: filter.limit]

    @_locked
    def tasks(self, job_id: int, *, after: int = 0, limit: int = 100) -> list[TaskRecord]:
        return [task.record() for task in self._job(job_id).tasks if task.key.number > after][:limit]

    @_locked
    def events(self, job_id: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        self._job(job_id)
        return [event for event in self._events if event.job_id == job_id and event.id > after][:limit]

    @_locked
    def waiting_count(self) -> int:
        return sum(self._count(name)[0] for name in self._queues)

    # Schedule

    @_locked
    def changes(self, cursor: int) -> Changes:
        waiting, gone = [], []
        for job in self._jobs.values():
            for task in job.tasks:
                if (task.change or 0) > cursor and task.state is TaskState.QUEUED:
                    waiting.append(job.waiting(task))
                elif cursor and (task.change or 0) > cursor:
                    gone.append(task.key)
        views = (
            self._view(worker_id) for worker_id in sorted(self._workers) if self._workers[worker_id].present
        )
        queues = {name: self._queue_view(name) for name in sorted(self._queues)}
        return Changes(self._last_change, waiting, gone, tuple(views), queues)

    @_locked
    def commit(self, plan: Plan, at: datetime) -> list[Start]:
        return [start for start in plan.starts if self._start(start, at)]

    def _start(self, start: Start, at: datetime) -> bool:
        task, queue, worker = (
            self._task(start.task),
            self._queues.get(start.queue),
            self._workers.get(start.worker_id),
        )
        if task is None or queue is None or worker is None:
            return False
        job, view = self._jobs[start.key.job_id], self._queue_view(start.queue)
        if job.order.queue != start.queue or not worker.present or view.paused:
            return False
        if task.state is not TaskState.QUEUED or len(task.attempts) != start.key.attempt - 1:
            return False
        if view.max_concurrent is not None and view.running >= view.max_concurrent:
            return False
        if not self._ledger.allocate(
            start.key, start.worker_id, start.generation, start.queue, start.resources
        ):
            return False
        task.state, task.change = TaskState.RUNNING, None
        task.attempts.append(MemoryAttempt(attempt_record(start.key, start.worker_id, at), start.generation))
        job.started_at = job.started_at or at
        message, _ = rules.started_event(start.key.attempt, start.worker_id, start.resources)
        data = {"attempt": start.key.attempt, "worker": start.worker_id}
        self._tell(job.id, task.key.number, at, "started", message, data)
        return True

    @_locked
    def wake_scheduled(self, now: datetime) -> datetime | None:
        scheduled = [t for job in self._jobs.values() for t in job.tasks if t.state is TaskState.SCHEDULED]
        due = [task for task in scheduled if task.not_before and task.not_before <= now]
        change = self._next_change() if due else 0
        for task in due:
            task.state, task.queued_at, task.not_before, task.change = TaskState.QUEUED, now, None, change
        return min((task.not_before for task in scheduled if task.not_before), default=None)

    # Attempts

    @_locked
    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        known = self._workers.get(worker.id)
        generation = known.generation + 1 if known else 1
        self._offer(worker, generation, at, lease_s)
        return generation

    def _offer(self, worker: WorkerInfo, generation: int, at: datetime, lease_s: float) -> None:
        lease_until = at + timedelta(seconds=lease_s)
        self._workers[worker.id] = MemoryWorker(generation, worker.labels, worker.allocatable, lease_until)
        self._ledger.set_worker(worker.id, generation, worker.allocatable)

    @_locked
    def beat(
        self, worker: WorkerInfo, generation: int, at: datetime, lease_s: float
    ) -> list[AttemptKey] | None:
        if not self._current(worker.id, generation):
            return None
        self._offer(worker, generation, at, lease_s)
        return [
            attempt.record.key
            for attempt in self._live()
            if attempt.record.worker_id == worker.id and self._to_cancel(attempt.record.key)
        ]

    @_locked
    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        if not self._current(worker_id, generation):
            return False
        self._workers[worker_id] = replace(self._workers[worker_id], present=False, lease_until=at)
        return True

    @_locked
    def claim(
        self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime
    ) -> list[Assignment]:
        claimed = []
        for key in keys:
            attempt = self._held(key, worker_id, generation)
            if attempt is None or attempt.record.state is not AttemptState.STARTING:
                continue
            if self._to_cancel(key):
                end = AttemptEnd(
                    key,
                    worker_id,
                    generation,
                    AttemptState.FAILED,
                    at,
                    TaskState.CANCELLED,
                    exit=rules.CANCELLED_STARTING,
                )
                self.report([end])
                continue
            attempt.record = replace(attempt.record, state=AttemptState.RUNNING)
            claimed.append(self._assignment(key))
        return claimed

    def _assignment(self, key: AttemptKey) -> Assignment:
        job, task = self._jobs[key.job_id], self._jobs[key.job_id].tasks[key.number - 1]
        order = job.order
        return Assignment(
            key, order.kind, order.owner, order.queue, task.name, {**order.spec, **task.spec},
            self._ledger.live()[key].resources, order.timeout_s, order.max_attempts, task.losses, job.result_name,
            order.priority,
        )  # fmt: skip

    @_locked
    def report(self, ends: Sequence[AttemptEnd]) -> list[AttemptEnd]:
        for end in self._believed(ends):
            attempt = self._held(
                end.key, end.worker_id, end.generation, also_lost=end.state is AttemptState.LOST
            )
            assert attempt is not None
            rules.check_end(end, attempt.record.state)
        recorded = [self._record(end) for end in self._believed(ends)]
        for job_id in dict.fromkeys(end.key.job_id for end in recorded):
            self._finish(
                self._jobs[job_id], max(end.ended_at for end in recorded if end.key.job_id == job_id)
            )
        return recorded

    def _believed(self, ends: Sequence[AttemptEnd]) -> list[AttemptEnd]:
        first: dict[AttemptKey, AttemptEnd] = {}
        for end in ends:
            if self._believes(end):
                first.setdefault(end.key, end)
        return list(first.values())

    def _believes(self, end: AttemptEnd) -> bool:
        lost = end.state is AttemptState.LOST
        return self._held(end.key, end.worker_id, end.generation, also_lost=lost) is not None

    def _record(self, end: AttemptEnd) -> AttemptEnd:
        job = self._jobs[end.key.job_id]
        if job.cancel_requested_at is not None:
            end = rules.cancelled_end(end)
        if end.source is not None:
            key = rules.name_key(end.source.name)
            if key in self._sources or self._reserved.get(key, job.id) != job.id:
                end = rules.name_taken_end(end)
        change = self._next_change() if end.next_state is TaskState.QUEUED else 0
        job.apply(job.tasks[end.key.number - 1], end, change)
        if end.release:
            self._ledger.release(end.key)
        else:
            self._kept.add(end.key)
        if end.source is not None:
            self._reserved.pop(rules.name_key(end.source.name), None)
            self._sources[rules.name_key(end.source.name)] = end.source
        kind, message, data = rules.ended_event(end)
        ends_job = end.next_state.final and len(job.tasks) == 1
        self._tell(job.id, None if ends_job else end.key.number, end.ended_at, kind, message, data)
        return end

    def _finish(self, job: MemoryJob, at: datetime) -> None:
        job.finish(at)
        if not job.status().final:
            return
        self._free(job)
        if len(job.tasks) > 1:
            self._tell(job.id, None, at, *rules.job_ended_event(job.status(), job.counts()))

    @_locked
    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        held = self._kept.intersection(keys)
        self._kept -= held
        return sum(self._ledger.release(key) for key in held)

    @_locked
    def release_kept(self, worker_id: str, at: datetime) -> int:
        kept = {key for key in self._kept if self._ledger.live()[key].worker_id == worker_id}
        self._kept -= kept
        return sum(self._ledger.release(key) for key in kept)

    @_locked
    def lost(self, at: datetime) -> list[LostAttempt]:
        found = []
        for attempt in self._live():
            worker, record = self._workers[attempt.record.worker_id], attempt.record
            if worker.lease_until <= at or worker.generation != attempt.generation:
                job = self._jobs[record.key.job_id]
                losses = job.tasks[record.key.number - 1].losses
                found.append(
                    LostAttempt(
                        record.key, record.worker_id, attempt.generation, job.order.max_attempts, losses
                    )
                )
        return sorted(found, key=lambda attempt: attempt.key)

    # Sources

    @_locked
    def add_source(self, source: Source) -> None:
        self._check_name(source.name)
        self._sources[rules.name_key(source.name)] = source

    @_locked
    def source(self, name: str) -> Source:
        found = self._sources.get(rules.name_key(name))
        if found is None:
            raise not_found(name, [source.name for source in self._sources.values()])
        return found

    @_locked
    def sources(self, *, owner: str | None = None, after: str = "", limit: int = 100) -> list[Source]:
        keys = sorted(key for key in self._sources if key > rules.name_key(after))
        return [self._sources[key] for key in keys if owner in (None, self._sources[key].owner)][:limit]

    @_locked
    def sources_named(self, names: Iterable[str]) -> list[Source]:
        keys = sorted({rules.name_key(name) for name in names})
        return [self._sources[key] for key in keys if key in self._sources]

    @_locked
    def delete_source(self, name: str) -> Source:
        source = self.source(name)
        del self._sources[rules.name_key(name)]
        return source

    @_locked
    def managed_paths(self) -> set[str]:
        paths = {source.path for source in self._sources.values() if source.managed}
        for job in self._jobs.values():
            results = (task.result for task in job.tasks if task.result and job.result_name is None)
            paths |= {result["path"] for result in results if isinstance(result.get("path"), str)}
        return paths

    # Queues

    @_locked
    def queues(self) -> list[QueueRecord]:
        return [self.queue(name) for name in sorted(self._queues)]

    @_locked
    def queue(self, name: str) -> QueueRecord:
        if name not in self._queues:
            raise NotFound(
                f"There is no queue {name!r}. Known queues: {', '.join(self._queues) or 'none yet'}."
            )
        view, waiting = self._queue_view(name), self._count(name)[0]
        return QueueRecord(name, view.weight, view.max_concurrent, view.paused, waiting, view.running)

    @_locked
    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrent: int | None = None,
        no_cap: bool = False,
        weight: int | None = None,
    ) -> QueueRecord:
        check_queue_settings(name, max_concurrent=max_concurrent, no_cap=no_cap, weight=weight)
        queue = self._queues.setdefault(name, _Queue())
        queue.paused = queue.paused if paused is None else paused
        queue.weight = queue.weight if weight is None else weight
        if no_cap or max_concurrent is not None:
            queue.cap = max_concurrent
        return self.queue(name)

    # Care

    @_locked
    def prune(self, before: datetime) -> int:
        holding = {key.job_id for key in self._ledger.live()}
        old = [
            j for j in self._jobs.values() if j.finished_at and j.finished_at < before and j.id not in holding
        ]
        for job in old:
            del self._jobs[job.id]
        forgotten = {job.id for job in old}
        self._events = [event for event in self._events if event.job_id not in forgotten]
        self._keys = {key: job_id for key, job_id in self._keys.items() if job_id not in forgotten}
        return len(old)

    @_locked
    def check(self) -> None:
        self._ledger.check()
        live = {attempt.record.key for attempt in self._live()}
        held = set(self._ledger.live())
        if held != live | self._kept:
            raise LedgerError(
                f"Live attempts {live} and kept ones {self._kept} differ from what holds room: {held}."
            )
        for job in self._jobs.values():
            if (job.finished_at is not None) != job.status().final:
                raise LedgerError(f"Job {job.id} is {job.status()} but finished_at is {job.finished_at}.")
            for task in job.tasks:
                if (task.state is TaskState.RUNNING) != (task.live() is not None):
                    raise LedgerError(f"Task {task.key} is {task.state}, its newest attempt says otherwise.")
        if wrong := [
            key for key, job_id in self._reserved.items() if self._jobs[job_id].finished_at is not None
        ]:
            raise LedgerError(f"Names are reserved for jobs that have ended: {wrong}.")

    def close(self) -> None:
        """Nothing to close."""

    # Looking things up

    def _job(self, job_id: int) -> MemoryJob:
        if job_id not in self._jobs:
            raise NotFound(f"There is no job {job_id}.")
        return self._jobs[job_id]

    def _task(self, key: TaskKey) -> MemoryTask | None:
        job = self._jobs.get(key.job_id)
        return job.tasks[key.number - 1] if job and 0 < key.number <= len(job.tasks) else None

    def _live(self) -> list[MemoryAttempt]:
        tasks = (self._task(key.task) for key in self._ledger.live())
        return [attempt for task in tasks if task is not None and (attempt := task.live()) is not None]

    def _held(
        self, key: AttemptKey, worker_id: str, generation: int, *, also_lost: bool = False
    ) -> MemoryAttempt | None:
        """The live attempt, if this worker holds it under this generation, which is the worker's newest."""
        task = self._task(key.task)
        attempt = task.live() if task else None
        if attempt is None or attempt.record.key != key or attempt.record.worker_id != worker_id:
            return None
        newest = also_lost or self._workers[worker_id].generation == generation
        return attempt if attempt.generation == generation and newest else None

    def _to_cancel(self, key: AttemptKey) -> bool:
        return self._jobs[key.job_id].cancel_requested_at is not None

    def _current(self, worker_id: str, generation: int) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and worker.present and worker.generation == generation

    def _free(self, job: MemoryJob) -> None:
        key = rules.name_key(job.result_name or "")
        if self._reserved.get(key) == job.id:
            del self._reserved[key]

    def _count(self, queue: str) -> tuple[int, int]:
        """How many tasks of the queue wait and run."""
        states = [t.state for job in self._jobs.values() if job.order.queue == queue for t in job.tasks]
        return states.count(TaskState.QUEUED) + states.count(TaskState.SCHEDULED), states.count(
            TaskState.RUNNING
        )

    def _queue_view(self, name: str) -> QueueView:
        queue = self._queues[name]
        cap = self._cap if queue.cap is _DEFAULT_CAP else queue.cap
        assert cap is None or isinstance(cap, int)
        return QueueView(name, self._count(name)[1], cap, queue.paused, queue.weight)

    def _view(self, worker_id: str) -> WorkerView:
        worker = self._workers[worker_id]
        allocated = self._ledger.allocated(worker_id)
        return WorkerView(worker_id, worker.generation, worker.allocatable, allocated, worker.labels)

    def _next_change(self) -> int:
        self._last_change += 1
        return self._last_change

    def _tell(
        self,
        job_id: int,
        task: int | None,
        at: datetime,
        kind: str,
        message: str,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        self._last_event += 1
        self._events.append(Event(self._last_event, job_id, task, at, kind, message, dict(data or {})))
