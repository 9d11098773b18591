"""Jobs and tasks: what names them, what a task needs, and how they travel into the store and to the scheduler.

A job is what a user submits. It has one or more tasks; a task is run in one or more attempts. The number of an attempt
is its fencing number: whoever reports for an attempt names it, and only the newest one is believed. Their states stand in
`states`, what is told of an attempt in `attempt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from tidegate.core.identity import Caller
from tidegate.core.resources import Resources
from tidegate.errors import InvalidInput, NotFound


class Priority(IntEnum):
    """How urgent a job is against the others of its queue; larger runs first."""

    LOW = -1
    NORMAL = 0
    HIGH = 1

    @classmethod
    def parse(cls, text: object) -> Priority:
        """From `low`, `normal` or `high`. Raises InvalidInput for anything else."""
        try:
            return cls[str(text).upper()]
        except KeyError:
            raise InvalidInput(f"priority must be one of low, normal, high, not {text!r}.") from None

    def __str__(self) -> str:
        return self.name.lower()


class TaskKey(NamedTuple):
    """Names a task: job 81's second task is `81.2`. Tasks count from 1."""

    job_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.job_id}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> TaskKey:
        """From `81.2`. Raises NotFound for anything else, since no task can have such an id."""
        job, _, number = text.partition(".")
        if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (job, number)):
            raise NotFound(f"There is no task {text!r:.60}.")
        return cls(int(job), int(number))


class AttemptKey(NamedTuple):
    """Names an attempt: the third try of task `81.2` is `81.2.3`. Attempts count from 1."""

    job_id: int
    number: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.job_id}.{self.number}.{self.attempt}"

    @property
    def task(self) -> TaskKey:
        return TaskKey(self.job_id, self.number)


def parse_job_id(text: str) -> int:
    """A job's number from its id. Raises NotFound for text that no job can have as its id."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"There is no job {text!r:.60}.")
    return int(text)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a task needs of a worker. Tasks of one shape fit or do not fit together."""

    resources: Resources
    labels: frozenset[tuple[str, str]] = frozenset()


NO_CEILING_BYTES = 1 << 62
"""As `max_memory_bytes`: as much memory as a worker can give."""
DIGEST = "digest"
"""In a task's spec: the SHA-256, in hexadecimal digits, of all that its result depends on. See `TaskOrder.digest`."""
MOST_TASKS = 200_000
"""Most tasks of one job, its last one not counted: about 100 MB of rows."""
ORIGIN = "origin"
"""Field of a spec, of the service's own: where the job came from, as `user_id`, `request_id`, perhaps `traceparent`."""


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """One task of a job, submitted with it or added by a task of it: its name (or file) and what its kind needs to know."""

    name: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the job's own."""
    resources: Resources | None = None
    """None: the job's. The labels are always the job's."""
    timeout_s: float | None = None
    """None: the job's."""
    result: Mapping[str, Any] | None = None
    """Of an added task whose result is known already: it has succeeded with this as soon as it comes, and nothing runs."""

    @property
    def digest(self) -> str | None:
        """What names the task's result, whoever makes it: when the store has kept a result of the owner under it, the task has
        succeeded with that as soon as it comes. None: nobody can know the result beforehand."""
        return self.spec.get(DIGEST)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A validated job on its way into the store."""

    kind: str
    name: str
    owner: str
    queue: str
    priority: Priority
    shape: Shape
    timeout_s: float
    max_attempts: int
    spec: Mapping[str, Any]
    tasks: tuple[TaskOrder, ...]
    created_at: datetime
    not_before: datetime | None = None
    result_name: str | None = None
    """The source name to register the result under; reserved from submission on. None: no source is registered."""
    result_named_by_user: bool = False
    idempotency_key: str | None = None
    request_digest: str | None = None
    """Digest of the request body, kept beside the idempotency key: the same key with another body is a conflict."""
    by: Caller | None = None
    """Who submitted it, for the audit trail; None for the service's own work."""
    max_memory_bytes: int | None = None
    """How much an attempt may ask for after one that ran out of memory; None: no more than the request."""
    last: TaskOrder | None = None
    """One more task, queued when all others have ended, however they did, unless the job is to be cancelled. Its result is
    the job's, and `result_name` is for it alone."""
    batch: int = 1
    """How many of its tasks may run one after another in one sandbox: a batch."""


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A queued task as the scheduler sees it."""

    key: TaskKey
    queue: str
    owner: str
    priority: Priority
    shape: Shape
    queued_at: datetime
    attempts: int = 0
    """Attempts made so far; the next one gets this number plus one."""
    batch: int = 1
    """How many tasks of its job may share a sandbox."""
