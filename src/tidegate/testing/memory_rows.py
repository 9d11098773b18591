"""What `MemoryStore` keeps: jobs and tasks as plain objects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tidegate.core.job import (
    AttemptEnd,
    AttemptKey,
    AttemptState,
    Exit,
    JobStatus,
    NewJob,
    TaskKey,
    TaskState,
    Usage,
    WaitingTask,
)
from tidegate.errors import InvalidInput
from tidegate.ports import AttemptRecord, Draining, JobRecord, TaskRecord, WorkerInfo
from tidegate.store import rules


@dataclass(slots=True)
class MemoryAttempt:
    """An attempt and who holds it."""

    record: AttemptRecord
    generation: int


@dataclass(slots=True)
class MemoryTask:
    """A task; `change` as in the database: set while it is queued, and when it was cancelled while it waited."""

    key: TaskKey
    name: str
    spec: Mapping[str, Any]
    state: TaskState
    queued_at: datetime | None
    not_before: datetime | None
    change: int | None
    losses: int = 0
    put_back: int = 0
    attempts: list[MemoryAttempt] = field(default_factory=list)
    exit: Exit | None = None
    result: Mapping[str, Any] | None = None

    def live(self) -> MemoryAttempt | None:
        """Its attempt that has not ended."""
        newest = self.attempts[-1] if self.attempts else None
        return newest if newest and not newest.record.state.final else None

    def record(self) -> TaskRecord:
        tries = tuple(attempt.record for attempt in self.attempts)
        return TaskRecord(self.key, self.name, self.state, tries, self.exit, self.result, self.not_before)


@dataclass(slots=True)
class MemoryJob:
    """A job with its tasks."""

    id: int
    order: NewJob
    change: int
    tasks: list[MemoryTask]
    result_name: str | None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    usage: Usage = Usage()
    exit: Exit | None = None

    def counts(self) -> dict[TaskState, int]:
        found = Counter(task.state for task in self.tasks)
        return {state: found[state] for state in TaskState}

    def status(self) -> JobStatus:
        return rules.status_of(self.counts())

    def waiting(self, task: MemoryTask) -> WaitingTask:
        assert task.queued_at is not None
        order = self.order
        return WaitingTask(
            task.key,
            order.queue,
            order.owner,
            order.priority,
            order.shape,
            task.queued_at,
            len(task.attempts),
        )

    def record(self) -> JobRecord:
        order, status = self.order, self.status()
        return JobRecord(
            id=self.id, kind=order.kind, name=order.name, owner=order.owner, queue=order.queue, priority=order.priority,
            status=status, shape=order.shape, timeout_s=order.timeout_s, max_attempts=order.max_attempts, spec=order.spec,
            created_at=order.created_at, started_at=self.started_at, finished_at=self.finished_at,
            cancel_requested_at=self.cancel_requested_at, task_counts=self.counts(), change=self.change,
            usage=self.usage, exit=None if status is JobStatus.SUCCEEDED else self.exit,
            result=self.tasks[0].result if len(self.tasks) == 1 else None, result_name=self.result_name,
            not_before=self.tasks[0].not_before if len(self.tasks) == 1 else None,
        )  # fmt: skip

    def apply(self, task: MemoryTask, end: AttemptEnd, change: int) -> None:
        """Record an end that is believed."""
        task.attempts[-1].record = replace(
            task.attempts[-1].record, state=end.state, ended_at=end.ended_at, exit=end.exit, usage=end.usage
        )
        task.state = end.next_state
        task.losses += end.counts_as_loss
        task.put_back += end.put_back
        task.queued_at = end.ended_at if end.next_state is TaskState.QUEUED else None
        task.change = change if end.next_state is TaskState.QUEUED else None
        task.not_before = end.not_before if end.next_state is TaskState.SCHEDULED else None
        task.result = end.result if end.next_state is TaskState.SUCCEEDED else None
        task.exit = end.exit if end.next_state in (TaskState.FAILED, TaskState.CANCELLED) else None
        self.exit = self.exit or task.exit
        self.usage = rules.add_usage(self.usage, end.usage)

    def finish(self, at: datetime) -> None:
        """Note when the last task ended."""
        if self.status().final:
            self.finished_at = max(self.finished_at or at, at)


@dataclass(slots=True)
class MemoryWorker:
    """A worker; what it has allocated is in the ledger."""

    generation: int
    info: WorkerInfo
    registered_at: datetime
    beat_at: datetime
    lease_until: datetime
    present: bool = True
    draining: Draining = Draining.NO

    @property
    def lease_s(self) -> float:
        return (self.lease_until - self.beat_at).total_seconds()


def new_memory_job(job_id: int, order: NewJob, change: int) -> MemoryJob:
    """The job as stored, all of it as JSON would bring it back. Raises InvalidInput for what JSON cannot hold."""
    try:
        order.name.encode()
        order = replace(order, spec=json.loads(json.dumps(order.spec)))
        specs = [json.loads(json.dumps(task.spec)) for task in order.tasks]
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The job cannot be stored: {error}.", code="unstorable") from None
    waits = order.not_before is not None and order.not_before > order.created_at
    tasks = [
        MemoryTask(
            TaskKey(job_id, number), task.name, spec,
            TaskState.SCHEDULED if waits else TaskState.QUEUED,
            None if waits else order.created_at, order.not_before if waits else None, None if waits else change,
        )
        for number, (task, spec) in enumerate(zip(order.tasks, specs, strict=True), 1)
    ]  # fmt: skip
    name = rules.default_result_name(job_id) if order.result_name == "" else order.result_name
    return MemoryJob(job_id, order, change, tasks, name)


def attempt_record(key: AttemptKey, worker_id: str, at: datetime) -> AttemptRecord:
    return AttemptRecord(key, AttemptState.STARTING, worker_id, at, None, None, Usage())
