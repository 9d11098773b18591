"""What a `MemoryStore` holds, and how its parts look things up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from tidegate.core.attempt import Assignment
from tidegate.core.identity import Action, AuditEntry, Caller, KeyRecord, entry
from tidegate.core.job import AttemptKey, TaskKey
from tidegate.core.ledger import Ledger
from tidegate.core.names import source_key
from tidegate.core.plan import QueueView, WorkerView
from tidegate.core.readings import Sample
from tidegate.core.recovery import Crash, SafeMode
from tidegate.core.source import Source
from tidegate.core.states import TaskState
from tidegate.core.usage import Cell, Tally
from tidegate.errors import NotFound
from tidegate.ports import TAKES_BATCHES, ChangedRules, Draining, Event, Quarantined, Report
from tidegate.store import rules
from tidegate.testing.memory_rows import MemoryAttempt, MemoryJob, MemoryKept, MemoryTask, MemoryWorker

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="MemoryState")

DEFAULT_CAP = object()


def locked(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """One caller at a time, as in one transaction."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return call


class MemoryQueue:
    """A queue's settings; its counts are made when asked for."""

    def __init__(self) -> None:
        self.weight, self.paused = 1, False
        self.cap: object = DEFAULT_CAP


class MemoryState:
    """All that is stored, behind one lock; counts are made by looking, not by counters."""

    def __init__(self, *, max_concurrent: int | None = None) -> None:
        self._lock = threading.RLock()
        self._cap = max_concurrent
        self._jobs: dict[int, MemoryJob] = {}
        self._events: list[Event] = []
        self._sources: dict[str, Source] = {}
        self._reserved: dict[str, int] = {}
        self._queues: dict[str, MemoryQueue] = {}
        self._workers: dict[str, MemoryWorker] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._ledger = Ledger()
        self._kept: set[AttemptKey] = set()
        self._archived: list[datetime] = []
        self._released: dict[AttemptKey, datetime] = {}
        self._forgotten_usage: list[tuple[Cell, Tally]] = []
        self._counted_hours: dict[datetime, int] = {}
        self._reports: list[Report] = []
        self._leader: str | None = None
        self._lead_until: datetime | None = None
        self._epoch = 0
        self._api_keys: dict[str, KeyRecord] = {}
        self._audit: list[AuditEntry] = []
        self._samples: dict[tuple[datetime, str], Sample] = {}
        self._pressure_rules: ChangedRules | None = None
        self._results: dict[tuple[str, str], MemoryKept] = {}
        self._crashes: list[Crash] = []
        self._runs: dict[str, datetime] = {}
        self._safe_mode = SafeMode()
        self._quarantine: dict[TaskKey, Quarantined] = {}
        self._last_job = self._last_change = self._last_event = self._last_audit = 0

    def _note(self, by: Caller | None, action: Action, object: str, **detail: Any) -> None:
        if by is not None:
            self._append(entry(by, action, object, detail=detail))

    def _append(self, each: AuditEntry) -> None:
        self._last_audit += 1
        self._audit.append(replace(each, id=self._last_audit))

    def _check_name(self, owner: str, name: str) -> None:
        key = source_key(owner, name)
        if key in self._sources or key in self._reserved:
            raise rules.name_conflict(name, self._reserved.get(key))

    def _job(self, job_id: int) -> MemoryJob:
        if job_id not in self._jobs:
            raise NotFound(f"There is no job {job_id}.")
        return self._jobs[job_id]

    def _task(self, key: TaskKey) -> MemoryTask | None:
        job = self._jobs.get(key.job_id)
        return job.tasks[key.number - 1] if job and 0 < key.number <= len(job.tasks) else None

    def _live(self) -> list[MemoryAttempt]:
        found = ((key, self._task(key.task)) for key in self._ledger.live())
        live = ((key, task.live()) for key, task in found if task is not None)
        return [attempt for key, attempt in live if attempt is not None and attempt.record.key == key]

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

    def _assignment(self, key: AttemptKey) -> Assignment:
        job, task = self._jobs[key.job_id], self._jobs[key.job_id].tasks[key.number - 1]
        order, live = job.order, self._ledger.live()
        head = live[key].head
        return Assignment(
            key, order.kind, order.owner, order.queue, task.name, {**order.spec, **task.spec},
            live[head or key].resources, job.timeout_s(task), order.max_attempts, task.losses,
            job.result_name_of(task), order.priority, task.put_back, task.memory_raises, order.max_memory_bytes, head,
        )  # fmt: skip

    def _to_cancel(self, key: AttemptKey) -> bool:
        return self._jobs[key.job_id].cancel_requested_at is not None

    def _current(self, worker_id: str, generation: int) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and worker.present and worker.generation == generation

    def _free(self, job: MemoryJob) -> None:
        key = source_key(job.order.owner, job.result_name or "")
        if self._reserved.get(key) == job.id:
            del self._reserved[key]

    def _count(self, queue: str) -> tuple[int, int]:
        """How many tasks of the queue wait, and how many sandboxes of it run."""
        states = [t.state for job in self._jobs.values() if job.order.queue == queue for t in job.tasks]
        waiting = states.count(TaskState.QUEUED) + states.count(TaskState.SCHEDULED)
        held = self._ledger.live()
        sandboxes = {
            held[attempt.record.key].head or attempt.record.key
            for attempt in self._live()
            if held[attempt.record.key].queue == queue
        }
        return waiting, len(sandboxes)

    def _queue_view(self, name: str) -> QueueView:
        queue = self._queues[name]
        cap = self._cap if queue.cap is DEFAULT_CAP else queue.cap
        assert cap is None or isinstance(cap, int)
        return QueueView(name, self._count(name)[1], cap, queue.paused, queue.weight)

    def _view(self, worker_id: str) -> WorkerView:
        worker = self._workers[worker_id]
        allocated = self._ledger.allocated(worker_id)
        offered = worker.info.allocatable
        accepting = worker.draining is Draining.NO
        return WorkerView(
            worker_id, worker.generation, offered, allocated, worker.info.labels, accepting,
            worker.beat_at, worker.lease_s, level=worker.info.pressure.level,
            takes_batches=TAKES_BATCHES.items() <= worker.info.versions.items(),
        )  # fmt: skip

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
