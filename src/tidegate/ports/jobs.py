"""Jobs, as intake and the API use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tidegate.core.attempt import Exit, Usage
from tidegate.core.identity import Caller
from tidegate.core.job import AttemptKey, NewJob, Priority, Shape, TaskKey
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, JobStatus, TaskState


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored submission. `created` is false when its idempotency key was used for the same request before, `ended` true
    when its result was known already, so that nothing waits."""

    job_id: int
    created: bool = True
    ended: bool = False


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as stored. `task_counts` has every task state, `usage` is the highest peak and the sums over its attempts."""

    id: int
    kind: str
    name: str
    owner: str
    queue: str
    priority: Priority
    status: JobStatus
    shape: Shape
    timeout_s: float
    max_attempts: int
    spec: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    task_counts: Mapping[TaskState, int]
    change: int
    """The store's change number when the job became queued; the scheduler has seen it once its cursor is past it."""
    usage: Usage = Usage()
    exit: Exit | None = None
    result: Mapping[str, Any] | None = None
    """Of a job with one task, or with a last one: that task's result."""
    result_name: str | None = None
    not_before: datetime | None = None
    """Of a job with one task, while that is scheduled: when it may start."""
    max_memory_bytes: int | None = None
    """See `NewJob`."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt as stored."""

    key: AttemptKey
    state: AttemptState
    worker_id: str
    started_at: datetime
    ended_at: datetime | None
    exit: Exit | None
    usage: Usage
    resources: Resources = Resources()
    """What it asked for, and was given; of a batch all say what they share."""
    head: AttemptKey | None = None
    """The first of its batch, whose sandbox and amounts it shares; None of that one, and of one that is alone."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as stored, with its attempts from first to last."""

    key: TaskKey
    name: str
    state: TaskState
    attempts: tuple[AttemptRecord, ...] = ()
    exit: Exit | None = None
    result: Mapping[str, Any] | None = None
    not_before: datetime | None = None
    resources: Resources = Resources()
    """What it asks for: its own, or its job's."""
    timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job, in the order of `id`. `type` is one of the catalogue in `telemetry.events`."""

    id: int
    job_id: int
    task_number: int | None
    at: datetime
    type: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; None means any. Newest first, ids below `before_id`, or oldest first, ids above `after_id`."""

    status: JobStatus | None = None
    kind: str | None = None
    queue: str | None = None
    owner: str | None = None
    before_id: int | None = None
    limit: int = 50
    oldest_first: bool = False
    after_id: int | None = None
    not_queue: str | None = None
    """A queue whose jobs are left out."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel did: tasks that ended at once because they waited, and attempts that have to be stopped."""

    status: JobStatus
    ended_tasks: int
    live_attempts: tuple[AttemptKey, ...]
    kind: str = ""
    queue: str = ""


class JobStore(Protocol):
    """Jobs, as intake and the API use them."""

    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        """Store jobs with their tasks and an `accepted` event each, in one transaction; one answer per job in order.

        A job that cannot be stored gets its error as its answer and does not hold up the others: Conflict when its
        `result_name` is taken or its idempotency key was used (same owner) with another `request_digest`. The same
        key and digest answers the earlier job. A job that is one task whose result is kept (see `TaskOrder.digest`) has
        succeeded at once, unless it waits for a time.
        """
        ...

    def request_cancel(self, job_id: int, at: datetime, by: Caller | None = None) -> Cancelled:
        """Flag the job as to be cancelled; its waiting tasks end at once. Idempotent. Raises NotFound.

        From its return on, no task of the job can succeed any more. On a finished job it changes nothing.
        """
        ...

    def job(self, job_id: int) -> JobRecord:
        """Raises NotFound."""
        ...

    def owner_of(self, job_id: int) -> str:
        """Whose job it is. Raises NotFound."""
        ...

    def owners_of(self, job_ids: Iterable[int]) -> Mapping[int, str]:
        """Whose jobs they are, of those that are there. For tens of them, not for thousands."""
        ...

    def jobs(self, filter: JobFilter) -> list[JobRecord]: ...

    def tasks(
        self, job_id: int, *, after: int = 0, limit: int = 100, state: TaskState | None = None
    ) -> list[TaskRecord]:
        """Tasks with a number above `after`, of this state or of any, in order. Raises NotFound for an unknown job."""
        ...

    def events(self, job_id: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events with an id above `after`, in order. Raises NotFound for an unknown job."""
        ...

    def waiting_count(self) -> int:
        """How many tasks wait (scheduled or queued)."""
        ...
