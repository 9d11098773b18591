"""Jobs, tasks and events as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Integer, Select, and_, bindparam, false, func, literal_column, or_, select

from tidegate.core.attempt import Usage
from tidegate.core.identity import LOCAL_OWNER
from tidegate.core.job import AttemptKey, Priority, TaskKey
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, JobStatus, TaskState
from tidegate.errors import NotFound
from tidegate.ports import AttemptRecord, Event, JobFilter, JobRecord, TaskRecord
from tidegate.store.engine import Statement, Tx
from tidegate.store.growth import own_amounts, own_timeout_s
from tidegate.store.schema import allocations, attempts, events, jobs, queues, tasks
from tidegate.store.shared import number, storable
from tidegate.store.values import (
    USAGE_COLUMNS,
    exit_from_json,
    from_json,
    from_json_or_none,
    from_micros,
    from_micros_or_none,
    shape_of,
)

_own = tasks.alias("own")
"""The task whose result is the job's."""
_OF_JOBS = [column for column in jobs.c if column.name not in ("last", "last_number")]
_JOBS: Select[Any] = select(*_OF_JOBS, _own.c.result, _own.c.not_before).select_from(
    jobs.outerjoin(
        _own,
        and_(
            _own.c.job_id == jobs.c.id,
            _own.c.number == func.coalesce(jobs.c.last_number, number(1)),
            or_(jobs.c.task_count == number(1), jobs.c.last_number.is_not(None)),
        ),
    )
)
_JOB = Statement(_JOBS.where(jobs.c.id == bindparam("job")), "job")
_JOB_COLUMNS = [*(column.name for column in _OF_JOBS), "result", "not_before"]
_TASKS = select(
    *(tasks.c[name] for name in ("job_id", "number", "name", "state", "not_before", "exit", "result")),
    *(
        amount.label(name)
        for amount, name in zip(own_amounts(), ("cpu_milli", "memory_bytes", "disk_bytes"), strict=True)
    ),
    own_timeout_s().label("timeout_s"),
).select_from(tasks.join(jobs, jobs.c.id == tasks.c.job_id))
_EVENTS = Statement(
    select(
        events.c.id,
        events.c.job_id,
        events.c.task_number,
        events.c.at,
        events.c.type,
        events.c.message,
        events.c.data,
    )
    .where(events.c.job_id == bindparam("job"), events.c.id > bindparam("after"))
    .order_by(events.c.id)
    .limit(bindparam("most", type_=Integer))
    .offset(number(0)),
    "job after most",
)
_OWNER = Statement(select(jobs.c.owner).where(jobs.c.id == bindparam("job")), "job")
_WAITING = Statement(select(func.sum(queues.c.waiting)))
_AS_THEY_ARE = ("id", "kind", "name", "owner", "queue", "timeout_s", "max_attempts", "change", "result_name",
                "max_memory_bytes")  # fmt: skip

_KEY = ("job_id", "number", "attempt")
_AMOUNTS = ("cpu_milli", "memory_bytes", "disk_bytes")
_HELD = allocations.alias("held")
_HEAD = (
    allocations.c.job_id,
    func.coalesce(allocations.c.head_number, allocations.c.number),
    func.coalesce(allocations.c.head_attempt, allocations.c.attempt),
)
"""The attempt that holds the amounts: of a batch the first."""
_COUNTS = [(state, f"tasks_{state}") for state in TaskState]


def one_job(tx: Tx, job_id: int) -> JobRecord:
    """See `JobStore.job`."""
    row = tx.one(_JOB, (job_id,)) if storable(job_id) else None
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return _job(dict(zip(_JOB_COLUMNS, row, strict=True)))


def list_jobs(tx: Tx, filter: JobFilter) -> list[JobRecord]:
    """See `JobStore.jobs`."""
    query = _JOBS
    if filter.status is not None:
        query = query.where(*_with_status(filter.status))
    for column, wanted in (
        (jobs.c.kind, filter.kind),
        (jobs.c.queue, filter.queue),
        (jobs.c.owner, filter.owner),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if filter.owner not in (None, LOCAL_OWNER):
        query = query.where(
            jobs.c.owner != literal_column(f"'{LOCAL_OWNER}'")
        )  # lets the partial index serve
    if filter.not_queue is not None:
        query = query.where(jobs.c.queue != filter.not_queue)
    if filter.before_id is not None and storable(filter.before_id):
        query = query.where(jobs.c.id < filter.before_id)
    if filter.after_id is not None:
        query = (
            query.where(jobs.c.id > filter.after_id) if storable(filter.after_id) else query.where(false())
        )
    order = jobs.c.id.asc() if filter.oldest_first else jobs.c.id.desc()
    rows = tx.connection.execute(query.order_by(order).limit(filter.limit))
    return [_job(dict(zip(_JOB_COLUMNS, row, strict=True))) for row in rows]


def _with_status(status: JobStatus) -> list[Any]:
    """ACCEPTED is stored as QUEUED. The second condition lets the partial index serve all that did not succeed."""
    stored = JobStatus.QUEUED if status is JobStatus.ACCEPTED else status
    found = [jobs.c.status == stored.value]
    if stored is not JobStatus.SUCCEEDED:
        found.append(jobs.c.status != literal_column("'SUCCEEDED'"))
    return found


def list_tasks(tx: Tx, job_id: int, after: int, limit: int, state: TaskState | None) -> list[TaskRecord]:
    """See `JobStore.tasks`."""
    _check_job(tx, job_id)
    query = _TASKS.where(tasks.c.job_id == job_id, tasks.c.number > after)
    if state is not None:
        query = query.where(tasks.c.state == state.value)
    rows = tx.connection.execute(query.order_by(tasks.c.number).limit(limit)).mappings().all()
    if not rows:
        return []
    tries: dict[int, list[AttemptRecord]] = {}
    numbers = [row["number"] for row in rows]
    made = (
        select(
            attempts,
            allocations.c.head_number,
            allocations.c.head_attempt,
            *(_HELD.c[name] for name in _AMOUNTS),
        )
        .join_from(attempts, allocations, and_(*(allocations.c[name] == attempts.c[name] for name in _KEY)))
        .join(_HELD, and_(*(_HELD.c[name] == of for name, of in zip(_KEY, _HEAD, strict=True))))
        .where(attempts.c.job_id == job_id, attempts.c.number.in_(numbers))
    )
    for row in tx.connection.execute(made.order_by(attempts.c.number, attempts.c.attempt)).mappings():
        tries.setdefault(row["number"], []).append(_attempt(dict(row)))
    return [_task(dict(row), tuple(tries.get(row["number"], ()))) for row in rows]


def list_events(tx: Tx, job_id: int, after: int, limit: int) -> list[Event]:
    """See `JobStore.events`."""
    _check_job(tx, job_id)
    return [
        Event(event_id, job_id, task_number, from_micros(at), kind, message, from_json(data))
        for event_id, _, task_number, at, kind, message, data in tx.rows(_EVENTS, (job_id, after, limit))
    ]


def owner_of(tx: Tx, job_id: int) -> str:
    """See `JobStore.owner_of`."""
    row = tx.one(_OWNER, (job_id,)) if storable(job_id) else None
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return str(row[0])


def owners_of(tx: Tx, job_ids: Iterable[int]) -> dict[int, str]:
    """See `JobStore.owners_of`."""
    rows = ((job_id, tx.one(_OWNER, (job_id,))) for job_id in set(job_ids))
    return {job_id: str(row[0]) for job_id, row in rows if row is not None}


def waiting_count(tx: Tx) -> int:
    """See `JobStore.waiting_count`."""
    row = tx.one(_WAITING)
    return int(row[0] or 0) if row else 0


def _check_job(tx: Tx, job_id: int) -> None:
    if not storable(job_id) or tx.one(_OWNER, (job_id,)) is None:
        raise NotFound(f"There is no job {job_id}.")


def _job(row: Mapping[str, Any]) -> JobRecord:
    return JobRecord(
        **{name: row[name] for name in _AS_THEY_ARE},
        priority=Priority(row["priority"]),
        status=JobStatus(row["status"]),
        shape=shape_of(row["cpu_milli"], row["memory_bytes"], row["disk_bytes"], row["labels"]),
        spec=from_json(row["spec"]),
        created_at=from_micros(row["created_at"]),
        started_at=from_micros_or_none(row["started_at"]),
        finished_at=from_micros_or_none(row["finished_at"]),
        cancel_requested_at=from_micros_or_none(row["cancel_requested_at"]),
        task_counts={state: row[column] for state, column in _COUNTS},
        usage=_usage(row),
        exit=exit_from_json(row["exit"]),
        result=from_json_or_none(row["result"]),
        not_before=from_micros_or_none(row["not_before"]),
    )


def _task(row: Mapping[str, Any], tries: tuple[AttemptRecord, ...]) -> TaskRecord:
    return TaskRecord(
        TaskKey(row["job_id"], row["number"]),
        row["name"],
        TaskState(row["state"]),
        tries,
        exit_from_json(row["exit"]),
        from_json_or_none(row["result"]),
        from_micros_or_none(row["not_before"]),
        Resources(row["cpu_milli"], row["memory_bytes"], row["disk_bytes"]),
        row["timeout_s"],
    )


def _attempt(row: Mapping[str, Any]) -> AttemptRecord:
    number, attempt = row["head_number"], row["head_attempt"]
    return AttemptRecord(
        AttemptKey(row["job_id"], row["number"], row["attempt"]),
        AttemptState(row["state"]),
        row["worker_id"],
        from_micros(row["started_at"]),
        from_micros_or_none(row["ended_at"]),
        exit_from_json(row["exit"]),
        _usage(row),
        Resources(*(row[name] for name in _AMOUNTS)),
        None if number is None else AttemptKey(row["job_id"], number, attempt),
    )


def _usage(row: Mapping[str, Any]) -> Usage:
    return Usage(**{name: row[name] for name in USAGE_COLUMNS})
