"""Tasks in quarantine, and how one of them is let go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, insert, or_, select, update

from tidegate.core.attempt import AttemptEnd
from tidegate.core.identity import Action, Caller
from tidegate.core.job import NewJob, Priority, TaskKey, TaskOrder
from tidegate.errors import NotFound
from tidegate.ports import Accepted, Quarantined
from tidegate.store import rules
from tidegate.store.audit import record
from tidegate.store.engine import Tx, expect
from tidegate.store.growth import own_amounts, own_timeout_s
from tidegate.store.jobs import add_jobs
from tidegate.store.schema import jobs, quarantine, tasks
from tidegate.store.shared import storable
from tidegate.store.values import from_json, from_micros, from_micros_or_none, shape_of, to_micros

_OF_TASK = and_(tasks.c.job_id == quarantine.c.job_id, tasks.c.number == quarantine.c.number)
_ALL: Select[Any] = select(
    quarantine.c.job_id, quarantine.c.number, quarantine.c.at, jobs.c.kind, tasks.c.name, jobs.c.owner,
    quarantine.c.released_at, quarantine.c.released_by, quarantine.c.released_as,
).select_from(quarantine.join(tasks, _OF_TASK).join(jobs, jobs.c.id == quarantine.c.job_id))  # fmt: skip


def quarantine_tasks(tx: Tx, ends: Iterable[AttemptEnd]) -> None:
    """Note those whose attempts are recorded by the same transaction."""
    rows = [
        {"job_id": end.key.job_id, "number": end.key.number, "at": to_micros(end.ended_at)}
        for end in ends
        if end.quarantined
    ]
    if rows:
        tx.connection.execute(insert(quarantine), rows)


def list_quarantined(tx: Tx, before: TaskKey | None, limit: int) -> list[Quarantined]:
    """See `QuarantineStore.quarantined`."""
    query = _ALL.order_by(quarantine.c.job_id.desc(), quarantine.c.number.desc()).limit(limit)
    if before is not None:
        same = and_(quarantine.c.job_id == before.job_id, quarantine.c.number < before.number)
        query = query.where(or_(quarantine.c.job_id < before.job_id, same))
    return [_quarantined(row) for row in tx.connection.execute(query)]


def one_quarantined(tx: Tx, key: TaskKey) -> Quarantined:
    """See `QuarantineStore.quarantined_task`."""
    row = None
    if storable(key.job_id) and storable(key.number):
        query = _ALL.where(quarantine.c.job_id == key.job_id, quarantine.c.number == key.number)
        row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no task {key} in quarantine.")
    return _quarantined(row)


def release_task(tx: Tx, key: TaskKey, at: datetime, by: Caller | None = None) -> int:
    """See `QuarantineStore.release_task`."""
    rules.check_still_quarantined(one_quarantined(tx, key))
    (answer,) = add_jobs(tx, [_again(tx, key, at)])
    if not isinstance(answer, Accepted):
        raise answer
    changed = tx.connection.execute(
        update(quarantine)
        .values(released_at=to_micros(at), released_by=by.owner if by else None, released_as=answer.job_id)
        .where(
            quarantine.c.job_id == key.job_id,
            quarantine.c.number == key.number,
            quarantine.c.released_at.is_(None),
        )
    )
    expect(changed.rowcount, 1)
    record(tx, by, Action.RELEASE_TASK, f"task {key}", job_id=answer.job_id)
    return answer.job_id


def _again(tx: Tx, key: TaskKey, at: datetime) -> NewJob:
    query = (
        select(
            jobs.c.kind, jobs.c.name, jobs.c.owner, jobs.c.queue, jobs.c.priority, jobs.c.labels,
            jobs.c.max_attempts, jobs.c.spec, jobs.c.result_name, jobs.c.max_memory_bytes, jobs.c.task_count,
            tasks.c.name.label("task_name"), tasks.c.spec.label("task_spec"),
            *(amount.label(name) for amount, name in zip(own_amounts(), _AMOUNTS, strict=True)),
            own_timeout_s().label("timeout_s"),
        )
        .select_from(tasks.join(jobs, jobs.c.id == tasks.c.job_id))
        .where(tasks.c.job_id == key.job_id, tasks.c.number == key.number)
    )  # fmt: skip
    row = tx.connection.execute(query).mappings().one()
    return NewJob(
        kind=row["kind"],
        name=row["name"],
        owner=row["owner"],
        queue=row["queue"],
        priority=Priority(row["priority"]),
        shape=shape_of(*(row[name] for name in _AMOUNTS), row["labels"]),
        timeout_s=row["timeout_s"],
        max_attempts=row["max_attempts"],
        spec=from_json(row["spec"]),
        tasks=(TaskOrder(row["task_name"], from_json(row["task_spec"])),),
        created_at=at,
        result_name=row["result_name"] if row["task_count"] == 1 else None,
        max_memory_bytes=row["max_memory_bytes"],
    )


_AMOUNTS = ("cpu_milli", "memory_bytes", "disk_bytes")


def _quarantined(row: Row[Any]) -> Quarantined:
    job_id, number, at, kind, name, owner, released_at, released_by, released_as = tuple(row)
    return Quarantined(
        TaskKey(job_id, number), from_micros(at), kind, name, owner, from_micros_or_none(released_at), released_by,
        released_as,
    )  # fmt: skip
