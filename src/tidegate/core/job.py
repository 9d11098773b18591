"""Jobs, tasks and attempts: their states, their legal transitions, and the records that travel between the rooms.

A job is what a user submits. It has one or more tasks; a task is run in one or more attempts. The number of an attempt
is its fencing number: whoever reports for an attempt names it, and only the newest one is believed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from tidegate.core.identity import Caller
from tidegate.core.names import source_key
from tidegate.core.resources import Resources
from tidegate.errors import IllegalTransition, InvalidInput, NotFound


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


class TaskState(StrEnum):
    """`scheduled` waits for a time, `queued` waits for room; the last three are final."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


class AttemptState(StrEnum):
    """`starting` from the commit of the plan, `running` once a worker claimed it; the last three are final."""

    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"

    @property
    def final(self) -> bool:
        return self in (AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.LOST)


class JobStatus(StrEnum):
    """What a job's tasks add up to. `ACCEPTED` is stored, but the scheduler has not looked at it yet."""

    ACCEPTED = "ACCEPTED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class ExitReason(StrEnum):
    """Why an attempt ended without success."""

    ERROR = "error"
    MEMORY_LIMIT = "memory_limit"
    TIME_LIMIT = "time_limit"
    DISK_LIMIT = "disk_limit"
    EVICTED = "evicted"
    CANCELLED = "cancelled"
    HOST_MEMORY = "host_memory"
    SIGNAL = "signal"
    LEASE_EXPIRED = "lease_expired"


OF_THE_MACHINE = frozenset({ExitReason.EVICTED, ExitReason.HOST_MEMORY})
"""The machine was short, the task did nothing wrong."""
KEEPER_DIED = "keeper_died"
"""Code of the exit of an attempt whose own watching process went, which is ours and not the task's."""


TASK_TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.SCHEDULED: frozenset({TaskState.QUEUED, TaskState.CANCELLED}),
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.CANCELLED, TaskState.FAILED}),
    TaskState.RUNNING: frozenset(
        {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.QUEUED, TaskState.SCHEDULED}
    ),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
}

ATTEMPT_TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.STARTING: frozenset({AttemptState.RUNNING, AttemptState.FAILED, AttemptState.LOST}),
    AttemptState.RUNNING: frozenset({AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.LOST}),
    AttemptState.SUCCEEDED: frozenset(),
    AttemptState.FAILED: frozenset(),
    AttemptState.LOST: frozenset(),
}


def check_task_transition(key: TaskKey, old: TaskState, new: TaskState) -> None:
    """Raise IllegalTransition unless the table has this change."""
    if new not in TASK_TRANSITIONS[old]:
        raise IllegalTransition(f"Task {key} cannot go from {old} to {new}.")


def check_attempt_transition(key: AttemptKey, old: AttemptState, new: AttemptState) -> None:
    """Raise IllegalTransition unless the table has this change."""
    if new not in ATTEMPT_TRANSITIONS[old]:
        raise IllegalTransition(f"Attempt {key} cannot go from {old} to {new}.")


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


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt used. None where nothing could measure it."""

    peak_memory_bytes: int | None = None
    """Highest anonymous plus shared memory of the process tree; page cache is not in it where the kernel tells."""
    peak_memory_with_cache_bytes: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    enforced_by: str | None = None
    """The rung of the ladder of limits that held the attempt; of a job, that of its last attempt."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Why an attempt ended: a reason, a sentence with numbers, and the numbers. `enforced_by` is the rung that held it."""

    reason: ExitReason
    message: str
    limit: int | float | None = None
    observed: int | float | None = None
    enforced_by: str | None = None
    code: str | None = None
    """Finer, stable code of an error inside the job, such as `unknown_column`."""


@dataclass(frozen=True, slots=True)
class SourceColumn:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class SourcePart:
    """One Parquet file of a source that grows by loads, and what was loaded into it."""

    path: str
    """Relative to the data directory."""
    row_count: int
    size_bytes: int
    job_id: int
    load: str
    """Names the load by the content of the file, the sheet and the options: the same load comes once."""
    name: str
    """The file, and the sheet if it has several, for people."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a successful attempt adds to a source of its owner, or makes of its own; see `growing.grown`."""

    name: str
    owner: str
    part: SourcePart
    columns: tuple[SourceColumn, ...]
    replace: bool = False
    """Parts of other jobs go."""
    again: bool = False
    """It is added even if the source has the same load already."""

    @property
    def key(self) -> str:
        """See `Source.key`."""
        return source_key(self.owner, self.name)


@dataclass(frozen=True, slots=True)
class Source:
    """A named data set: one or more files of one format.

    `path` is what the user named: a file, a glob or a folder; of a managed one it is relative to the data directory, see
    `names.managed_file`. `options` are reader options fixed at registration
    (for CSV the sniffed dialect and types), so that every query reads the same types.
    """

    name: str
    format: str
    path: str
    owner: str
    created_at: datetime
    columns: tuple[SourceColumn, ...] = ()
    row_count: int | None = None
    size_bytes: int | None = None
    file_count: int = 1
    job_id: int | None = None
    lineage: tuple[str, ...] = ()
    """Names of the sources a result was made from."""
    sql: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    managed: bool = False
    """Whether Tidegate made the file (an upload or a result) and deletes it with the source."""
    roots: tuple[str, ...] = ()
    """The folders of `source_roots`, as real paths, by which it was allowed when it was registered. It keeps that right."""
    shared: bool = False
    """Whether every owner may read it."""
    parts: tuple[SourcePart, ...] = ()
    """The files of a source that was made by loads, in their order; `path` is then the first. Else empty."""

    @property
    def paths(self) -> tuple[str, ...]:
        """`path`, or those of all parts."""
        return tuple(part.path for part in self.parts) or (self.path,)

    @property
    def key(self) -> str:
        """Its place in the order of all sources, and what no other source has: see `names.source_key`."""
        return source_key(self.owner, self.name)

    @property
    def column_count(self) -> int:
        return len(self.columns)


ORIGIN = "origin"
"""Field of a spec, of the service's own: where the job came from, as `user_id`, `request_id`, perhaps `traceparent`."""


def whose(key: AttemptKey, owner: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """What tells in a log to which job and request a line about an attempt belongs."""
    origin = spec.get(ORIGIN)
    request_id = origin.get("request_id") if isinstance(origin, Mapping) else None
    told = {"job_id": str(key.job_id), "task_id": str(key.task), "user_id": owner}
    return told if request_id is None else {**told, "request_id": str(request_id)}


class JobAfter(NamedTuple):
    """A job as one commit of ends has left it. `known` counts the tasks that came to it and had succeeded before they ran."""

    kind: str
    queue: str
    status: JobStatus
    known: int = 0


class Recorded(list["AttemptEnd"]):
    """The ends that a store has recorded in one commit, and what that made of their jobs, by id."""

    def __init__(
        self, ends: Iterable[AttemptEnd] = (), jobs: Mapping[int, JobAfter] = MappingProxyType({})
    ) -> None:
        super().__init__(ends)
        self.jobs = jobs


class Claimed(list["Assignment"]):
    """What a worker may run, and the ends of what was cancelled before it came to that."""

    def __init__(self, assignments: Iterable[Assignment] = (), ended: Recorded | None = None) -> None:
        super().__init__(assignments)
        self.ended = Recorded() if ended is None else ended


@dataclass(frozen=True, slots=True)
class Assignment:
    """An attempt that a worker has claimed, with all it needs to run it."""

    key: AttemptKey
    kind: str
    owner: str
    queue: str
    name: str
    spec: Mapping[str, Any]
    """The job's spec with the task's own laid over it."""
    resources: Resources
    timeout_s: float
    max_attempts: int
    losses: int
    result_name: str | None
    priority: Priority = Priority.NORMAL
    put_back: int = 0
    """Earlier attempts that were put back, see `AttemptEnd.put_back`."""
    memory_raises: int = 0
    """Earlier attempts that ran out of memory and let the next one ask for more."""
    max_memory_bytes: int | None = None
    """See `NewJob`."""
    head: AttemptKey | None = None
    """The first attempt of its batch, in whose sandbox it runs; None for that one itself, and outside of batches."""

    @property
    def sandbox(self) -> AttemptKey:
        """The attempt after which its sandbox is named."""
        return self.head or self.key


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """The end of an attempt as facts, with what shall follow for its task.

    Made by the worker, believed if it is still the newest attempt. A cancel that was acknowledged before this is recorded
    wins: the store then records the task as cancelled.
    """

    key: AttemptKey
    worker_id: str
    generation: int
    state: AttemptState
    ended_at: datetime
    next_state: TaskState
    """What the task becomes: succeeded, failed, cancelled, or queued/scheduled for another attempt."""
    not_before: datetime | None = None
    exit: Exit | None = None
    usage: Usage = Usage()
    result: Mapping[str, Any] | None = None
    """Small facts about the result (path, row count, columns, ...), kept with the task."""
    source: Source | None = None
    """The source to register in the same transaction as the success."""
    growths: tuple[Growth, ...] = ()
    """What sources gain in the same transaction as the success: all of them, or the end becomes a failure."""
    release: bool = True
    """False when the process tree is not proven gone: the allocation stays until `AttemptStore.release`."""
    put_back: bool = False
    """The attempt was taken away by an orderly stop, or never began since its batch ended before: it counts neither as a
    try of the job nor as a loss."""
    quarantined: bool = False
    """The task has taken its keeper or its worker with it as often as it may: it fails. An operator may let it run again."""
    next_memory_bytes: int | None = None
    """What the task asks for from now on, when it ran out of memory and is tried again with more."""
    new_tasks: Collection[TaskOrder] = ()
    """Of a success: tasks that are added to the same job in the same transaction. May be read more than once."""
    released: tuple[AttemptKey, ...] | None = None
    """In a store's answer, of an attempt of a batch: whose allocations this end released. Outside of batches None: its own,
    if `release`."""
    digest: str | None = None
    """Of a success: its result is kept under this, to be that of later tasks of the owner. See `TaskOrder.digest`."""

    @property
    def counts_as_loss(self) -> bool:
        """Whether it uses up the budget for what the task did not cause, and none of the job's own attempts."""
        short = self.exit is not None and self.exit.reason in OF_THE_MACHINE
        alone = self.exit is not None and self.exit.code == KEEPER_DIED
        return (self.state is AttemptState.LOST or short or alone or self.quarantined) and not self.put_back
