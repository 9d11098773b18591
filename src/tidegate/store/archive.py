"""Where jobs go that are past retention: what ran where, when, and what it used, without what users wrote."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Table, delete, func, insert, select

from tidegate.store.engine import Tx, expect
from tidegate.store.schema import allocations, archived_allocations, archived_jobs, jobs
from tidegate.store.values import to_micros

_AT_ONCE = 5000

_JOBS = (archived_jobs, archived_jobs.c.finished_at)
_ALLOCATIONS = (archived_allocations, archived_allocations.c.released_at)


def move(tx: Tx, job_ids: Sequence[int]) -> None:
    """Copy finished jobs and their released allocations, which the caller then deletes."""
    here = jobs.c.id.in_(job_ids)
    ends = (select(jobs.c.finished_at).where(here), select(allocations.c.released_at).where(_of(job_ids)))
    for (table, _), query in zip((_JOBS, _ALLOCATIONS), ends, strict=True):
        found = query.subquery().c[0]
        first, last = tx.connection.execute(select(func.min(found), func.max(found))).one()
        if first is not None:
            tx.make_room(table.name, first, last)
    expect(_copy(tx, jobs, archived_jobs, here), len(job_ids))
    _copy(tx, allocations, archived_allocations, _of(job_ids))


def prune_archive(tx: Tx, before: datetime) -> tuple[int, int] | None:
    """Forget some of what the archive holds from before; how many jobs and allocations, None when nothing is left."""
    at = to_micros(before)
    gone_jobs, gone_allocations = (
        tx.drop_months(table.name, at) + _delete_some(tx, table, column, at)
        for table, column in (_JOBS, _ALLOCATIONS)
    )
    return (gone_jobs, gone_allocations) if gone_jobs or gone_allocations else None


def _of(job_ids: Sequence[int]) -> ColumnElement[bool]:
    return allocations.c.job_id.in_(job_ids)


def _copy(tx: Tx, source: Table, archive: Table, which: ColumnElement[bool]) -> int:
    names = archive.c.keys()
    query = insert(archive).from_select(names, select(*(source.c[name] for name in names)).where(which))
    return tx.connection.execute(query, execution_options={"preserve_rowcount": True}).rowcount


def _delete_some(tx: Tx, table: Table, column: Column[int], at: int) -> int:
    old = select(column).where(column < at).order_by(column)
    last = tx.connection.scalar(old.offset(_AT_ONCE).limit(1))
    found = tx.connection.execute(delete(table).where(column < at if last is None else column <= last))
    return found.rowcount
