"""What is told of an attempt: what a worker gets to run it, and the facts of its end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from tidegate.core.job import ORIGIN, AttemptKey, Priority, TaskOrder
from tidegate.core.resources import Resources
from tidegate.core.source import Growth, Source
from tidegate.core.states import KEEPER_DIED, OF_THE_MACHINE, AttemptState, ExitReason, JobStatus, TaskState


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


class JobAfter(NamedTuple):
    """A job as one commit of ends has left it. `known` counts the tasks that came to it and had succeeded before they ran."""

    kind: str
    queue: str
    status: JobStatus
    known: int = 0


class Recorded(list[AttemptEnd]):
    """The ends that a store has recorded in one commit, and what that made of their jobs, by id."""

    def __init__(
        self, ends: Iterable[AttemptEnd] = (), jobs: Mapping[int, JobAfter] = MappingProxyType({})
    ) -> None:
        super().__init__(ends)
        self.jobs = jobs


class Claimed(list[Assignment]):
    """What a worker may run, and the ends of what was cancelled before it came to that."""

    def __init__(self, assignments: Iterable[Assignment] = (), ended: Recorded | None = None) -> None:
        super().__init__(assignments)
        self.ended = Recorded() if ended is None else ended


def whose(key: AttemptKey, owner: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """What tells in a log to which job and request a line about an attempt belongs."""
    origin = spec.get(ORIGIN)
    request_id = origin.get("request_id") if isinstance(origin, Mapping) else None
    told = {"job_id": str(key.job_id), "task_id": str(key.task), "user_id": owner}
    return told if request_id is None else {**told, "request_id": str(request_id)}
