"""What follows from what: a job's status from its tasks, an end as it is recorded, the sentences of events.

Pure, so that every store (also `testing.MemoryStore`) says the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tidegate.core.attempt import AttemptEnd, Exit, Usage
from tidegate.core.growing import grown
from tidegate.core.job import MOST_TASKS, AttemptKey, NewJob, Priority
from tidegate.core.names import RESULT_PREFIX
from tidegate.core.resources import Resources, format_bytes
from tidegate.core.source import Source
from tidegate.core.states import (
    AttemptState,
    ExitReason,
    JobStatus,
    TaskState,
    check_attempt_transition,
    check_task_transition,
)
from tidegate.errors import Conflict, InvalidInput
from tidegate.ports import Draining, Quarantined

TASK_STATES = tuple(TaskState)

CANCELLED_WAITING = Exit(ExitReason.CANCELLED, "Cancelled before it started.")
CANCELLED_STARTING = Exit(ExitReason.CANCELLED, "Cancelled before its worker had started it.")
CANCELLED_AT_END = Exit(ExitReason.CANCELLED, "Cancelled while it ran; what it had made was dropped.")

_ENDS = {TaskState.SUCCEEDED: "succeeded", TaskState.FAILED: "failed", TaskState.CANCELLED: "cancelled"}


def name_key(name: str) -> str:
    """What two names share that differ in case only."""
    return name.lower()


def default_result_name(job_id: int) -> str:
    return f"{RESULT_PREFIX}{job_id}"


def status_of(counts: Mapping[TaskState, int]) -> JobStatus:
    """A job's status from its tasks by state.

    Queued until the first start; running while a task runs, or waits after another one ended; then failed if any task
    failed, else cancelled if any was cancelled, else succeeded. A task that waits for another attempt while nothing else
    of its job has run or runs makes the job queued again.
    """
    ended = counts[TaskState.SUCCEEDED] + counts[TaskState.FAILED] + counts[TaskState.CANCELLED]
    if counts[TaskState.RUNNING]:
        return JobStatus.RUNNING
    if counts[TaskState.QUEUED] or counts[TaskState.SCHEDULED]:
        return JobStatus.RUNNING if ended else JobStatus.QUEUED
    if counts[TaskState.FAILED]:
        return JobStatus.FAILED
    return JobStatus.CANCELLED if counts[TaskState.CANCELLED] else JobStatus.SUCCEEDED


def check_end(end: AttemptEnd, current: AttemptState) -> None:
    """Raise IllegalTransition or InvalidInput for an end that says what cannot be."""
    check_attempt_transition(end.key, current, end.state)
    check_task_transition(end.key.task, TaskState.RUNNING, end.next_state)
    if (end.next_state is TaskState.SUCCEEDED) != (end.state is AttemptState.SUCCEEDED):
        raise InvalidInput(
            f"Attempt {end.key} ended as {end.state}, so its task cannot become {end.next_state}."
        )
    if end.new_tasks and end.next_state is not TaskState.SUCCEEDED:
        raise InvalidInput(f"Attempt {end.key} did not succeed, so it cannot add tasks.")
    if end.next_state is TaskState.SCHEDULED and end.not_before is None:
        raise InvalidInput(f"Task {end.key.task} cannot be scheduled without a time in `not_before`.")


def cancelled_end(end: AttemptEnd) -> AttemptEnd:
    """The end as it is recorded for a job that is to be cancelled: whatever it was, the task becomes cancelled."""
    if end.next_state is TaskState.CANCELLED:
        return replace(end, source=None, growths=(), result=None, not_before=None, new_tasks=())
    state = AttemptState.LOST if end.state is AttemptState.LOST else AttemptState.FAILED
    return replace(
        end,
        state=state,
        next_state=TaskState.CANCELLED,
        not_before=None,
        next_memory_bytes=None,
        quarantined=False,
        exit=CANCELLED_AT_END,
        result=None,
        source=None,
        new_tasks=(),
        growths=(),
    )


def name_taken_end(end: AttemptEnd) -> AttemptEnd:
    """The end as it is recorded when its source cannot be registered: failed, and nothing of it is kept."""
    assert end.source is not None
    message = (
        f"The result could not be registered: a source named {end.source.name!r} was made by someone else meanwhile. "
        "Submit the job again with another result_name."
    )
    return refused_end(end, message, "source_exists")


def refused_end(end: AttemptEnd, message: str, code: str) -> AttemptEnd:
    """The end of an attempt that succeeded, but whose result cannot be taken: failed, and nothing of it is kept."""
    return replace(
        end,
        state=AttemptState.FAILED,
        next_state=TaskState.FAILED,
        exit=Exit(ExitReason.ERROR, message, code=code),
        result=None,
        source=None,
        growths=(),
        new_tasks=(),
    )


def grown_end(end: AttemptEnd, task_count: int, result_name: str | None, *, has_last: bool) -> AttemptEnd:
    """The end as it is recorded in a job of so many tasks: failed, when the job cannot have those that it adds."""
    if not end.new_tasks:
        return end
    wanted = task_count + len(end.new_tasks)
    if wanted > MOST_TASKS:
        message = (
            f"The task would add {len(end.new_tasks):,} tasks to the {task_count:,} of its job, which may have "
            f"{MOST_TASKS:,}. Submit the work as several jobs."
        )
        exit_ = Exit(ExitReason.ERROR, message, MOST_TASKS, wanted, code="too_many_tasks")
    elif result_name is not None and not has_last:
        message = f"A job of {wanted:,} tasks cannot have one result_name, unless it has a last task."
        exit_ = Exit(ExitReason.ERROR, message, code="result_of_many")
    else:
        return end
    return replace(
        end,
        state=AttemptState.FAILED,
        next_state=TaskState.FAILED,
        exit=exit_,
        result=None,
        source=None,
        growths=(),
        new_tasks=(),
    )


def exit_in_job(end: AttemptEnd, *, alone: bool) -> Exit | None:
    """Why a job did not succeed, while this is the first of its tasks that did not. `alone`: it has no other task."""
    if end.exit is None or alone or end.next_state is not TaskState.FAILED:
        return end.exit
    return replace(end.exit, message=f"task {end.key.task}: {end.exit.message}")


def exit_of_job(exit: Exit | None, counts: Mapping[TaskState, int]) -> Exit | None:
    """The exit of a job that has ended, from that of its first task that did not succeed."""
    total, failed = sum(counts.values()), counts[TaskState.FAILED]
    if exit is None or total == 1 or not failed:
        return exit
    return replace(exit, message=f"{failed:,} of {total:,} tasks failed; first: {exit.message}")


def grow(
    end: AttemptEnd, there: Mapping[str, Source | None], reserved: Mapping[str, int | None]
) -> tuple[AttemptEnd, dict[str, Source]]:
    """The end as it is recorded, and the sources that it changes by their keys.

    `there` are the sources as they are, `reserved` the jobs whose results will have the names. The first growth decides: a
    load that is there already is a success that has changed nothing, and says so.
    """
    made: dict[str, Source] = {}
    try:
        for place, growth in enumerate(end.growths):
            if reserved[growth.key] is not None:
                raise name_conflict(growth.name, reserved[growth.key])
            now = grown(made.get(growth.key) or there[growth.key], growth, end.ended_at)
            if now is None and place == 0:
                unchanged = {"inserted": 0, "updated": 0, "unchanged": True}
                return replace(end, result={**(end.result or {}), **unchanged}), {}
            made |= {growth.key: now} if now is not None else {}
    except Conflict as refusal:
        return refused_end(end, str(refusal), refusal.code), {}
    return end, made


def name_conflict(name: str, reserved_by: int | None) -> Conflict:
    if reserved_by is None:
        return Conflict(
            f"A source named {name!r} exists already. Delete it, or choose another name.",
            code="source_exists",
        )
    return Conflict(
        f"The name {name!r} is reserved for the result of job {reserved_by}. Choose another name, or cancel that job.",
        code="source_exists",
    )


def changed_conflict(name: str) -> Conflict:
    return Conflict(
        f"The source {name!r} was changed or deleted meanwhile. Look at it, then try again.",
        code="source_changed",
    )


def shared_conflict(name: str) -> Conflict:
    return Conflict(
        f"A shared source named {name!r} exists already. Choose another name, or do not share it.",
        code="source_exists",
    )


def check_still_quarantined(held: Quarantined) -> None:
    """Raise Conflict for a task that somebody has let go before."""
    if held.released_as is not None:
        raise Conflict(
            f"Task {held.key} was released before: job {held.released_as} runs it again.",
            numbers={"job_id": str(held.released_as)},
        )


def worker_order(draining: Draining) -> str:
    """How the audit trail names it."""
    return {Draining.NO: "resume", Draining.LEAVING: "stop", Draining.ORDERED: "drain"}[draining]


def submitted(first: int, last: int) -> str:
    """How the audit trail names the jobs of one submission."""
    return f"job {first}" if first == last else f"jobs {first} to {last}"


def submission_detail(count: int, kinds: Sequence[str]) -> dict[str, str | int]:
    return {"jobs": count, "kind": ", ".join(sorted(set(kinds)))}


def key_conflict(key: str, job_id: int | None) -> Conflict:
    return Conflict(
        f"The idempotency key {key!r} was used for another request{f', job {job_id}' if job_id else ''}. "
        "Use a new key for a new request.",
        code="idempotency_key_used",
    )


def check_new_job(job: NewJob) -> None:
    """Raise InvalidInput for a job that no store can hold."""
    if not job.tasks:
        raise InvalidInput("A job needs at least one task.")
    if len(job.tasks) > MOST_TASKS:
        raise InvalidInput(
            f"The job has {len(job.tasks):,} tasks, and may have {MOST_TASKS:,}. Submit the work as several jobs.",
            code="too_many_tasks",
            numbers={"asked": len(job.tasks), "limit": MOST_TASKS},
        )
    if job.result_name is not None and len(job.tasks) > 1 and job.last is None:
        raise InvalidInput(
            f"A job of {len(job.tasks)} tasks cannot have one result_name. Submit them as jobs."
        )


def add_usage(old: Usage, new: Usage) -> Usage:
    """Usage of a job: the highest peaks, the sums of the rest, and what held the newer attempt."""
    return Usage(
        _highest(old.peak_memory_bytes, new.peak_memory_bytes),
        _highest(old.peak_memory_with_cache_bytes, new.peak_memory_with_cache_bytes),
        _sum(old.cpu_seconds, new.cpu_seconds),
        _sum(old.wall_seconds, new.wall_seconds),
        _sum_int(old.read_bytes, new.read_bytes),
        _sum_int(old.written_bytes, new.written_bytes),
        new.enforced_by or old.enforced_by,
    )


def _highest(old: int | None, new: int | None) -> int | None:
    return new if old is None else old if new is None else max(old, new)


def _sum(old: float | None, new: float | None) -> float | None:
    return new if old is None else old if new is None else old + new


def _sum_int(old: int | None, new: int | None) -> int | None:
    return new if old is None else old if new is None else old + new


@lru_cache(maxsize=256)
def accepted_message(queue: str, priority: Priority, task_count: int) -> str:
    tasks = "1 task" if task_count == 1 else f"{task_count:,} tasks"
    return f"Accepted into queue '{queue}' with {priority} priority: {tasks}."


@lru_cache(maxsize=1024)
def started_event(
    attempt: int, worker_id: str, resources: Resources, head: AttemptKey | None = None
) -> tuple[str, str]:
    """Message and data (as JSON) of `started`."""
    how = f"with {resources}" if head is None else f"in the sandbox of task {head.task}, in its turn"
    message = f"Attempt {attempt} starts on worker '{worker_id}' {how}."
    return message, json.dumps({"attempt": attempt, "worker": worker_id})


def ended_event(end: AttemptEnd) -> tuple[str, str, Mapping[str, Any]]:
    """Type, message and data of the event for the end of an attempt."""
    data: dict[str, Any] = {"attempt": end.key.attempt}
    if end.exit is not None:
        pairs = (("reason", str(end.exit.reason)), ("limit", end.exit.limit), ("observed", end.exit.observed))
        data.update((name, value) for name, value in pairs if value is not None)
    kind = (
        "lost"
        if end.state is AttemptState.LOST and not end.next_state.final
        else _ENDS.get(end.next_state, "retrying")
    )
    return kind, _end_message(end), data


def _end_message(end: AttemptEnd) -> str:
    if end.state is AttemptState.SUCCEEDED:
        return f"Attempt {end.key.attempt} succeeded{_used(end.usage)}."
    reason = f": {end.exit.reason}. {end.exit.message}" if end.exit is not None else "."
    if end.next_state is TaskState.SCHEDULED:
        assert end.not_before is not None
        return f"Attempt {end.key.attempt} ended{reason} Tries again after {end.not_before:%Y-%m-%d %H:%M:%S} UTC."
    again = " Queued for another attempt." if end.next_state is TaskState.QUEUED else ""
    return f"Attempt {end.key.attempt} ended{reason}{again}"


def _used(usage: Usage) -> str:
    parts = []
    if usage.wall_seconds is not None:
        parts.append(f"after {usage.wall_seconds:.3g} s")
    if usage.peak_memory_bytes is not None:
        parts.append(f"with a memory peak of {format_bytes(usage.peak_memory_bytes)}")
    return " " + " ".join(parts) if parts else ""


def kept_as(job: NewJob) -> str | None:
    """The digest under which the result of a new job may be known; None where a result would not end it."""
    alone = len(job.tasks) == 1 and job.last is None and job.result_name is None
    return job.tasks[0].digest if alone else None


def grown_event(added: int, total: int, known: int = 0) -> tuple[str, str, Mapping[str, int]]:
    """Type, message and data of the event that tells of tasks which a task has added, of so many the result was known."""
    tasks = "1 task was" if added == 1 else f"{added:,} tasks were"
    told = f" Of {known:,} the result was known." if known else ""
    data = {"added": added, "tasks": total} | ({"known": known} if known else {})
    return "expanded", f"{tasks} added; the job has {total:,} now.{told}", data


def known_event() -> tuple[str, str, str]:
    """Type, message and data (as JSON) of the event that ends a job whose result was known when it came."""
    return "succeeded", "Its result was known from an earlier job; nothing had to run.", "{}"


def last_event(total: int) -> tuple[str, str, Mapping[str, int]]:
    """Likewise of the last task."""
    message = f"All {total - 1:,} tasks have ended; the last one is queued."
    return "expanded", message, {"added": 1, "tasks": total}


def job_ended_event(status: JobStatus, counts: Mapping[TaskState, int]) -> tuple[str, str]:
    """Type and message of the event that ends a job of several tasks."""
    shares = ", ".join(f"{counts[state]:,} {word}" for state, word in _ENDS.items() if counts[state])
    return status.value.lower(), f"All tasks have ended: {shares}."
