"""What `MemoryStore` keeps: jobs and tasks as plain objects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tidegate.core.attempt import AttemptEnd, Exit, Usage
from tidegate.core.job import NewJob, TaskKey, TaskOrder, WaitingTask
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, JobStatus, TaskState
from tidegate.errors import InvalidInput
from tidegate.ports import AttemptRecord, Draining, JobRecord, TaskRecord, WorkerInfo
from tidegate.store import rules

NONE_KNOWN: Mapping[str, Mapping[str, Any]] = {}


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
    resources: Resources | None = None
    timeout_s: float | None = None
    losses: int = 0
    put_back: int = 0
    memory_raises: int = 0
    attempts: list[MemoryAttempt] = field(default_factory=list)
    exit: Exit | None = None
    result: Mapping[str, Any] | None = None

    def live(self) -> MemoryAttempt | None:
        """Its attempt that has not ended."""
        newest = self.attempts[-1] if self.attempts else None
        return newest if newest and not newest.record.state.final else None


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
    last_number: int | None = None
    untold: list[tuple[int, datetime, str, str, Mapping[str, int]]] = field(default_factory=list)
    """Events of growth that follow those of the ends of the same report."""

    def counts(self) -> dict[TaskState, int]:
        found = Counter(task.state for task in self.tasks)
        return {state: found[state] for state in TaskState}

    def known(self) -> int:
        """How many of its tasks have succeeded before they ran."""
        return sum(task.state is TaskState.SUCCEEDED and not task.attempts for task in self.tasks)

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
            replace(order.shape, resources=self.resources(task)),
            task.queued_at,
            len(task.attempts),
            order.batch,
        )

    def resources(self, task: MemoryTask) -> Resources:
        return self.order.shape.resources if task.resources is None else task.resources

    def timeout_s(self, task: MemoryTask) -> float:
        return self.order.timeout_s if task.timeout_s is None else task.timeout_s

    def result_name_of(self, task: MemoryTask) -> str | None:
        """A result has a name when it is the job's."""
        alone = len(self.tasks) == 1 and self.order.last is None
        return self.result_name if alone or task.key.number == self.last_number else None

    def has_other_results(self, task: MemoryTask) -> bool:
        """Whether the job's name is for the last task's result, and this is another one."""
        return self.order.last is not None and task.key.number != self.last_number

    def task_record(self, task: MemoryTask) -> TaskRecord:
        tries = tuple(attempt.record for attempt in task.attempts)
        return TaskRecord(
            task.key, task.name, task.state, tries, task.exit, task.result, task.not_before, self.resources(task),
            self.timeout_s(task),
        )  # fmt: skip

    def add_tasks(
        self,
        orders: Collection[TaskOrder],
        at: datetime,
        change: int,
        known: Mapping[str, Mapping[str, Any]] = NONE_KNOWN,
    ) -> int:
        """Add more tasks, queued unless their result is known; of how many it was. `known` are results by digest.

        Raises InvalidInput for what JSON cannot hold, and then adds none.
        """
        first = len(self.tasks) + 1
        added = [
            _memory_task(TaskKey(self.id, number), order, at, None, change)
            for number, order in enumerate(orders, first)
        ]
        for task, order in zip(added, orders, strict=True):
            task.result = order.result if order.result is not None else known.get(order.digest or "")
            if task.result is not None:
                task.state, task.queued_at, task.change = TaskState.SUCCEEDED, None, None
        self.tasks += added
        return sum(task.state is TaskState.SUCCEEDED for task in added)

    def last_due(self) -> bool:
        """Whether it is the turn of the last task."""
        return (
            self.order.last is not None
            and self.last_number is None
            and self.cancel_requested_at is None
            and self.status().final
        )

    def record(self) -> JobRecord:
        order, status = self.order, self.status()
        own = self.tasks[0] if len(self.tasks) == 1 else None
        if self.last_number is not None:
            own = self.tasks[self.last_number - 1]
        return JobRecord(
            id=self.id, kind=order.kind, name=order.name, owner=order.owner, queue=order.queue, priority=order.priority,
            status=status, shape=order.shape, timeout_s=order.timeout_s, max_attempts=order.max_attempts, spec=order.spec,
            created_at=order.created_at, started_at=self.started_at, finished_at=self.finished_at,
            cancel_requested_at=self.cancel_requested_at, task_counts=self.counts(), change=self.change,
            usage=self.usage, exit=None if status is JobStatus.SUCCEEDED else self.exit,
            result=own.result if own else None, result_name=self.result_name,
            not_before=own.not_before if own else None, max_memory_bytes=order.max_memory_bytes,
        )  # fmt: skip

    def apply(self, task: MemoryTask, end: AttemptEnd, change: int) -> None:
        """Record an end that is believed."""
        task.attempts[-1].record = replace(
            task.attempts[-1].record, state=end.state, ended_at=end.ended_at, exit=end.exit, usage=end.usage
        )
        task.state = end.next_state
        task.losses += end.counts_as_loss
        task.put_back += end.put_back
        if end.next_memory_bytes is not None:
            task.resources = replace(self.resources(task), memory_bytes=end.next_memory_bytes)
            task.memory_raises += 1
        task.queued_at = end.ended_at if end.next_state is TaskState.QUEUED else None
        task.change = change if end.next_state is TaskState.QUEUED else None
        task.not_before = end.not_before if end.next_state is TaskState.SCHEDULED else None
        task.result = end.result if end.next_state is TaskState.SUCCEEDED else None
        task.exit = end.exit if end.next_state in (TaskState.FAILED, TaskState.CANCELLED) else None
        if task.exit is not None and self.exit is None:
            alone = len(self.tasks) == 1 and self.order.last is None
            self.exit = rules.exit_in_job(end, alone=alone)
        self.usage = rules.add_usage(self.usage, end.usage)

    def finish(self, at: datetime) -> None:
        """Note when the last task ended."""
        if self.status().final:
            self.finished_at = max(self.finished_at or at, at)
            self.exit = rules.exit_of_job(self.exit, self.counts())


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


@dataclass(slots=True)
class MemoryKept:
    """A kept result."""

    result: Mapping[str, Any]
    size_bytes: int
    used_at: datetime


def stored_spec(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """As JSON would bring it back. Raises InvalidInput for what JSON cannot hold."""
    try:
        stored: Mapping[str, Any] = json.loads(json.dumps(spec))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The job cannot be stored: {error}.", code="unstorable") from None
    return stored


def new_memory_job(job_id: int, order: NewJob, change: int) -> MemoryJob:
    """The job as stored. Raises InvalidInput for what JSON cannot hold."""
    try:
        order.name.encode()
    except ValueError as error:
        raise InvalidInput(f"The job cannot be stored: {error}.", code="unstorable") from None
    order = replace(order, spec=stored_spec(order.spec))
    if order.last is not None:
        order = replace(order, last=replace(order.last, spec=stored_spec(order.last.spec)))
    waits = order.not_before is not None and order.not_before > order.created_at
    tasks = [
        _memory_task(
            TaskKey(job_id, number), task, order.created_at, order.not_before if waits else None, change
        )
        for number, task in enumerate(order.tasks, 1)
    ]
    name = rules.default_result_name(job_id) if order.result_name == "" else order.result_name
    return MemoryJob(job_id, order, change, tasks, name)


def _memory_task(
    key: TaskKey, order: TaskOrder, at: datetime, not_before: datetime | None, change: int
) -> MemoryTask:
    waits = not_before is not None
    state = TaskState.SCHEDULED if waits else TaskState.QUEUED
    return MemoryTask(
        key, order.name, stored_spec(order.spec), state, None if waits else at, not_before, None if waits else change,
        order.resources, order.timeout_s,
    )  # fmt: skip


def attempt_record(start: Start, at: datetime, resources: Resources) -> AttemptRecord:
    """`resources` is what its sandbox may use."""
    return AttemptRecord(
        start.key, AttemptState.STARTING, start.worker_id, at, None, None, Usage(), resources, start.head
    )
