"""What the server needs of the world. Each port is small and has one conformance suite in `tidegate.testing.conformance`.

The store is one database behind five ports, each for one user of it: intake and the API (`JobStore`), the scheduler
(`ScheduleStore`), workers (`AttemptStore`), sources (`SourceStore`) and queues (`QueueStore`). All of them block; callers
in an event loop go through a thread. Every write names the state it expects and answers what really changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tidegate.core.job import (
    Assignment,
    AttemptEnd,
    AttemptKey,
    AttemptState,
    Exit,
    JobStatus,
    NewJob,
    Priority,
    Shape,
    Source,
    TaskKey,
    TaskOrder,
    TaskState,
    Usage,
    WaitingTask,
)
from tidegate.core.plan import Plan, QueueView, Start, WorkerView
from tidegate.core.resources import Resources


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored submission. `created` is false when its idempotency key was used for the same request before."""

    job_id: int
    created: bool = True


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
    """Of a job with one task: the task's result."""
    result_name: str | None = None
    not_before: datetime | None = None
    """Of a job with one task, while that is scheduled: when it may start."""


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


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job, in the order of `id`. `type` is one of the catalogue in `telemetry`."""

    id: int
    job_id: int
    task_number: int | None
    at: datetime
    type: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; None means any. `before_id` is the cursor: newest first, ids below it."""

    status: JobStatus | None = None
    kind: str | None = None
    queue: str | None = None
    owner: str | None = None
    before_id: int | None = None
    limit: int = 50
    not_queue: str | None = None
    """A queue whose jobs are left out."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel did: tasks that ended at once because they waited, and attempts that have to be stopped."""

    status: JobStatus
    ended_tasks: int
    live_attempts: tuple[AttemptKey, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since a cursor, and the present workers and queues. `gone` no longer wait."""

    cursor: int
    waiting: Sequence[WaitingTask]
    gone: Sequence[TaskKey]
    workers: tuple[WorkerView, ...]
    queues: Mapping[str, QueueView]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker offers when it registers. `allocatable` is its capacity less the headroom for system and service."""

    id: str
    hostname: str
    capacity: Resources
    allocatable: Resources
    labels: frozenset[tuple[str, str]] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    rungs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """A live attempt whose worker's lease ended, with what the retry policy needs."""

    key: AttemptKey
    worker_id: str
    generation: int
    max_attempts: int
    losses: int


class JobStore(Protocol):
    """Jobs, as intake and the API use them."""

    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        """Store jobs with their tasks and an `accepted` event each, in one transaction; one answer per job in order.

        A job that cannot be stored gets its error as its answer and does not hold up the others: Conflict when its
        `result_name` is taken or its idempotency key was used (same owner) with another `request_digest`. The same
        key and digest answers the earlier job.
        """
        ...

    def request_cancel(self, job_id: int, at: datetime) -> Cancelled:
        """Flag the job as to be cancelled; its waiting tasks end at once. Idempotent. Raises NotFound.

        From its return on, no task of the job can succeed any more. On a finished job it changes nothing.
        """
        ...

    def job(self, job_id: int) -> JobRecord:
        """Raises NotFound."""
        ...

    def jobs(self, filter: JobFilter) -> list[JobRecord]: ...

    def tasks(self, job_id: int, *, after: int = 0, limit: int = 100) -> list[TaskRecord]:
        """Tasks with a number above `after`, in order. Raises NotFound for an unknown job."""
        ...

    def events(self, job_id: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events with an id above `after`, in order. Raises NotFound for an unknown job."""
        ...

    def waiting_count(self) -> int:
        """How many tasks wait (scheduled or queued)."""
        ...


class ScheduleStore(Protocol):
    """What the scheduling cycle reads and writes."""

    def changes(self, cursor: int) -> Changes:
        """Everything that started or stopped waiting after `cursor` (0: all that waits), in one consistent read."""
        ...

    def commit(self, plan: Plan, at: datetime) -> list[Start]:
        """Make the plan's starts true, and answer those that became true.

        In one transaction, for each start: the task goes queued → running under the next attempt number if it is still
        queued, not cancelled, and has made exactly `attempt - 1` attempts; the attempt and its allocation are inserted;
        the worker's allocated counters and the queue's running count grow, only if the worker still has that generation
        and room, and the queue's cap allows it. What does not match is left out. A `started` event each.
        """
        ...

    def wake_scheduled(self, now: datetime) -> datetime | None:
        """Queue the tasks whose `not_before` has come; the next such instant, if any."""
        ...


class AttemptStore(Protocol):
    """What workers write."""

    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        """Register or return; the new generation, one above the last. Attempts of older generations become lost ones."""
        ...

    def beat(
        self, worker: WorkerInfo, generation: int, at: datetime, lease_s: float
    ) -> list[AttemptKey] | None:
        """Renew the lease and the capacity; the worker's live attempts whose job is to be cancelled.

        None when the generation is no longer the worker's: stop everything and register again.
        """
        ...

    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        """Leave: no more starts are placed here. False when the generation is not current."""
        ...

    def claim(
        self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime
    ) -> list[Assignment]:
        """Starting → running for those of the attempts that are still this worker's and not to be cancelled.

        An attempt of a job that is to be cancelled is ended as cancelled and released here, since nothing ran.
        """
        ...

    def report(self, ends: Sequence[AttemptEnd]) -> list[AttemptEnd]:
        """Record ends, each only if the attempt is live, the newest of its task, and held by this worker and generation.

        In one transaction: the attempt, its task and job, usage, events, the release of the allocation exactly once
        (when `release`), and the result source. Answers what was recorded, with `next_state` as it became: `cancelled`
        instead of anything else when a cancel was acknowledged before (its source is then not registered). An end that
        is stale is left out of the answer.
        """
        ...

    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        """Release allocations that an end had kept; how many were still held."""
        ...

    def release_kept(self, worker_id: str, at: datetime) -> int:
        """Release all that ends had kept on a worker of which it is proven that nothing runs there; how many."""
        ...

    def lost(self, at: datetime) -> list[LostAttempt]:
        """Live attempts whose worker's lease has ended or whose generation is no longer the worker's."""
        ...


class SourceStore(Protocol):
    """Named data sets."""

    def add_source(self, source: Source) -> None:
        """Raises Conflict when the name is taken, also by a result that is still being made."""
        ...

    def source(self, name: str) -> Source:
        """Raises NotFound, with the nearest names."""
        ...

    def sources(self, *, owner: str | None = None, after: str = "", limit: int = 100) -> list[Source]:
        """In order of name."""
        ...

    def sources_named(self, names: Iterable[str]) -> list[Source]:
        """Those that exist, compared without regard to case."""
        ...

    def delete_source(self, name: str) -> Source:
        """Raises NotFound."""
        ...

    def managed_paths(self) -> set[str]:
        """Paths of all files that Tidegate made and still needs; the janitor removes what is not among them."""
        ...


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue as stored, with how many of its tasks wait and run."""

    name: str
    weight: int
    max_concurrent: int | None
    paused: bool
    waiting: int
    running: int


class QueueStore(Protocol):
    """Queues. A queue exists from its first use or from `set_queue` on."""

    def queues(self) -> list[QueueRecord]: ...

    def queue(self, name: str) -> QueueRecord:
        """Raises NotFound."""
        ...

    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrent: int | None = None,
        no_cap: bool = False,
        weight: int | None = None,
    ) -> QueueRecord:
        """Create or change; what is None stays."""
        ...


class Store(JobStore, ScheduleStore, AttemptStore, SourceStore, QueueStore, Protocol):
    """One database, all its faces, and its own care."""

    def prune(self, before: datetime) -> int:
        """Forget jobs that finished before, with their tasks, attempts, events and idempotency keys; how many.

        Sources stay, also those that the jobs have made. A job whose attempt still holds an allocation stays.
        """
        ...

    def check(self) -> None:
        """Recount everything: sums equal their parts, nothing oversold. Raises LedgerError with what differs."""
        ...

    def close(self) -> None: ...


class Launcher(Protocol):
    """Brings committed starts to their workers."""

    def launch(self, starts: Sequence[Start]) -> None:
        """Hand over; returns at once. What gets lost on the way is found by lease and sent again."""
        ...

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        """End these attempts wherever they are in their life; returns at once."""
        ...


class Bell(Protocol):
    """Wakes those who wait for something to have happened. A ring may be lost; whoever waits also looks by itself."""

    def ring(self, topic: str) -> None:
        """`schedule` when there may be something to plan, `job:81` when job 81 has changed."""
        ...

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on each ring, from any thread, quickly; the answer ends the subscription."""
        ...


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, for durations."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of the machine and where it comes from, such as `cgroup v1 memory.limit_in_bytes of /a/b`."""

    value: int
    source: str


class Probe(Protocol):
    """Capacity of this machine or container."""

    def capacity(self) -> Resources: ...

    def origins(self) -> Mapping[str, Reading]:
        """`cpu_milli`, `memory_bytes`, `disk_bytes`: the figure and where it comes from."""
        ...


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What a workload makes of a submission: its tasks, what it asks by default, what it will read.

    `request` and `timeout_s` are defaults that the submitter's own figures override.
    """

    name: str
    spec: Mapping[str, Any]
    request: Resources
    timeout_s: float
    tasks: tuple[TaskOrder, ...] = ()
    result_name: str | None = None
    """A source name for the result; the empty string stands for the default name `async_result_{job_id}`."""
    queue: str = "default"
    max_attempts: int = 1


@dataclass(frozen=True, slots=True)
class IntakeContext:
    """What a workload may look at while it judges a submission."""

    owner: str
    data_dir: str
    sources_named: Callable[[Iterable[str]], list[Source]]
    largest: Resources
    """The allocatable amounts of the largest worker, so that a default request never asks for more."""
    source_roots: tuple[str, ...] = ()
    """Folders besides the data directory whose files may be registered as sources."""


class Workload(Protocol):
    """The code of one kind of job, found by the entry point group `tidegate.workloads`.

    The instance lives in the server and must be light: what is heavy stands in the module that `runner` names
    (`package.module:function`), which only the sandbox imports.
    """

    kind: str
    fields: frozenset[str]
    """Names of the submission's fields that belong to this kind; any other unknown field is refused."""
    runner: str

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Judge a submission's own fields. Raises InvalidInput with what is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a runner gets inside the sandbox. It may write only below `staging`, and report by the two callables."""

    key: AttemptKey
    spec: Mapping[str, Any]
    resources: Resources
    timeout_s: float
    staging: str
    progress: Callable[[float], None]
    """Share done, 0 to 1; cheap to call often."""
    log: Callable[[str], None]


class Runner(Protocol):
    """The function that `Workload.runner` names. Returns small JSON facts about the result.

    Before it touches anything that a user wrote, it must have locked itself down; the sandbox has already confined the
    process to what `readable_paths` of the spec and the staging folder allow. Raises `TaskError` (workloads.errors) with a
    code and message for what the user can mend; anything else is an `error` with its type and text.
    """

    def __call__(self, context: TaskContext) -> Mapping[str, Any]: ...
