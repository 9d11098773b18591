"""The states of jobs, tasks and attempts, their legal transitions, and why an attempt ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from tidegate.core.job import AttemptKey, TaskKey
from tidegate.errors import IllegalTransition


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
