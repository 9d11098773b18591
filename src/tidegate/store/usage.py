"""What finished jobs have used, by the hours in which they ended.

The sums of jobs that are forgotten are kept by the transaction that forgets them, so that each counts once. Those of jobs that
are still there follow from the jobs; they are kept beside, for as long as they stand for as many jobs as there are, because
to look at each of a million jobs takes seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from tidegate.core.states import JobStatus
from tidegate.core.usage import HOUR, NEVER_STARTED, WAIT_BOUNDS_US, Cell, Tally, UsageBy, UsageRecord
from tidegate.ports import UsageFilter
from tidegate.store.engine import Tx
from tidegate.store.schema import allocations, attempts, jobs, usage_hours
from tidegate.store.shared import by_index, number, word
from tidegate.store.values import from_micros, to_micros

Cells = Mapping[Cell, Tally]

_HOUR_US = HOUR // timedelta(microseconds=1)
_NAMES = {
    UsageBy.USER: usage_hours.c.owner,
    UsageBy.QUEUE: usage_hours.c.queue,
    UsageBy.KIND: usage_hours.c.kind,
}
_PER_GIB = literal_column("9.313225746154785e-10", Float)
_PER_SECOND = literal_column("1e-6", Float)
_PER_CPU = literal_column("1e-3", Float)
_SUMS = tuple(func.sum(usage_hours.c[name]) for name in Tally._fields)


def _count_of(status: JobStatus) -> ColumnElement[int]:
    return func.sum(case((jobs.c.status == word(status), number(1)), else_=number(0)))


def _bucket(first: int, last: int) -> ColumnElement[int]:
    """The number of a job's wait between these, found by halves as `core.usage.wait_bucket` does."""
    if first == last:
        return number(first)
    middle = (first + last) // 2
    short = jobs.c.started_at - jobs.c.created_at <= number(WAIT_BOUNDS_US[middle])
    return case((short, _bucket(first, middle)), else_=_bucket(middle + 1, last))


_HOUR = (jobs.c.finished_at - jobs.c.finished_at % number(_HOUR_US)).label("hour")
_CELL = (
    _HOUR,
    jobs.c.owner,
    jobs.c.queue,
    jobs.c.kind,
    case((jobs.c.started_at.is_(None), number(NEVER_STARTED)), else_=_bucket(0, len(WAIT_BOUNDS_US))).label("wait"),
)  # fmt: skip
_HELD_S = (
    case(
        (allocations.c.released_at < jobs.c.finished_at, allocations.c.released_at), else_=jobs.c.finished_at
    )
    - allocations.c.allocated_at
) * _PER_SECOND
"""What is held beyond the end of a job is nobody's use: its processes do not go."""

_OF_JOBS: Mapping[str, ColumnElement[Any]] = {
    "jobs": func.count(),
    "succeeded": _count_of(JobStatus.SUCCEEDED),
    "failed": _count_of(JobStatus.FAILED),
    "cancelled": _count_of(JobStatus.CANCELLED),
    "wait_seconds": func.sum((jobs.c.started_at - jobs.c.created_at) * _PER_SECOND),
}
_OF_ATTEMPTS: Mapping[str, ColumnElement[Any]] = {
    "attempts": func.count(),
    "cpu_seconds": func.sum(attempts.c.cpu_seconds),
    "wall_seconds": func.sum(attempts.c.wall_seconds),
    "peak_gib_seconds": func.sum(attempts.c.peak_memory_bytes * attempts.c.wall_seconds * _PER_GIB),
}
_OF_ALLOCATIONS: Mapping[str, ColumnElement[Any]] = {
    "allocated_cpu_seconds": func.sum(allocations.c.cpu_milli * _PER_CPU * _HELD_S),
    "allocated_gib_seconds": func.sum(allocations.c.memory_bytes * _PER_GIB * _HELD_S),
}
_SPENT = (
    (_OF_JOBS, jobs),
    (_OF_ATTEMPTS, jobs.join(attempts, attempts.c.job_id == jobs.c.id)),
    (_OF_ALLOCATIONS, jobs.join(allocations, allocations.c.job_id == jobs.c.id)),
)


def usage(tx: Tx, filter: UsageFilter) -> list[UsageRecord]:
    """See `UsageStore.usage`."""
    since, until = to_micros(filter.since), to_micros(filter.until)
    changed = _changed(tx, since, until)
    found: dict[str, UsageRecord] = {}
    for name, wait, *sums in tx.connection.execute(_kept(filter, since, until, changed)):
        _add(found, name, wait, read_tally(Tally._fields, sums))
    for first, end in _runs(changed):
        for cell, tally in _spent(tx, _of_owner(filter.owner, *_between(first, end))).items():
            _add(found, _name(filter.by, cell), cell.wait, tally)
    return sorted(found.values(), key=lambda record: record.name)


def changed_hours(tx: Tx, before: datetime) -> list[datetime]:
    """The hours that ended before and whose jobs are not as many as the sums beside them stand for, the latest first."""
    end = to_micros(before)
    return [from_micros(hour) for hour in reversed(_changed(tx, 0, end - end % _HOUR_US))]


def spent_in(tx: Tx, hour: datetime) -> Cells:
    """What the jobs used that are there and ended in this hour."""
    first = to_micros(hour)
    return _spent(tx, _between(first, first + _HOUR_US))


def keep_sums(tx: Tx, hour: datetime, cells: Cells) -> None:
    """Keep these as the sums of the jobs that are there. That some have come or gone meanwhile shows by their number."""
    _forget_sums(tx, [to_micros(hour)])
    if cells:
        tx.connection.execute(
            insert(usage_hours), [_row(cell, 0) | tally._asdict() for cell, tally in cells.items()]
        )


def remember(tx: Tx, job_ids: Sequence[int]) -> None:
    """Add what these finished jobs used to that of forgotten ones; the caller then deletes them."""
    cells = _spent(tx, (jobs.c.id.in_(job_ids),), by_id=True)
    _forget_sums(tx, {to_micros(cell.hour) for cell in cells})
    for cell, tally in cells.items():
        row = _row(cell, 1)
        here = and_(*(usage_hours.c[name] == value for name, value in row.items()))
        more = {name: usage_hours.c[name] + value for name, value in tally._asdict().items()}
        if not tx.connection.execute(update(usage_hours).where(here).values(more)).rowcount:
            tx.connection.execute(insert(usage_hours), [row | tally._asdict()])


def prune_usage(tx: Tx, before: datetime) -> int:
    """See `UsageStore.prune_usage`."""
    return tx.connection.execute(delete(usage_hours).where(usage_hours.c.hour < to_micros(before))).rowcount


def present(since: int, until: int) -> Select[Any]:
    """How many jobs that are there ended in each hour; an index answers it alone."""
    query = select(_HOUR, func.count()).where(*_between(since, until)).group_by("hour")
    return by_index(jobs, "jobs_finished", query)


def _changed(tx: Tx, since: int, until: int) -> list[int]:
    """Of these hours those whose sums are not, or no longer, those of the jobs that are there."""
    there = {row[0]: row[1] for row in tx.connection.execute(present(since, until))}
    summed = select(usage_hours.c.hour, func.sum(usage_hours.c.jobs)).where(
        usage_hours.c.forgotten == number(0), usage_hours.c.hour >= since, usage_hours.c.hour < until
    )
    counted = {hour: int(count) for hour, count in tx.connection.execute(summed.group_by(usage_hours.c.hour))}
    return sorted(hour for hour in there.keys() | counted.keys() if there.get(hour) != counted.get(hour))


def _kept(filter: UsageFilter, since: int, until: int, changed: Collection[int]) -> Select[Any]:
    """The sums that are kept, without those of jobs that have changed since."""
    name = _NAMES[filter.by]
    query = select(name, usage_hours.c.wait, *_SUMS).where(
        usage_hours.c.hour >= since, usage_hours.c.hour < until
    )
    if filter.owner is not None:
        query = query.where(usage_hours.c.owner == filter.owner)
    if changed:
        query = query.where((usage_hours.c.forgotten == number(1)) | usage_hours.c.hour.not_in(changed))
    return query.group_by(name, usage_hours.c.wait)


def _spent(tx: Tx, which: Iterable[ColumnElement[bool]], *, by_id: bool = False) -> dict[Cell, Tally]:
    """What these jobs used, looked up with them one by one."""
    found: dict[Cell, Tally] = {}
    for sums, tables in _SPENT:
        query = select(*_CELL, *sums.values()).select_from(tables).where(*which)
        query = query.group_by("hour", jobs.c.owner, jobs.c.queue, jobs.c.kind, "wait")
        for row in tx.connection.execute(query if by_id else by_index(jobs, "jobs_finished", query)):
            cell = Cell(from_micros(row[0]), *row[1:5])
            found[cell] = found.get(cell, Tally()).plus(read_tally(tuple(sums), row[5:]))
    return found


def _between(since: int, until: int) -> tuple[ColumnElement[bool], ...]:
    return (jobs.c.finished_at >= since, jobs.c.finished_at < until)


def _of_owner(owner: str | None, *which: ColumnElement[bool]) -> tuple[ColumnElement[bool], ...]:
    return which if owner is None else (*which, jobs.c.owner == owner)


def _runs(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Hours, in order, as times of hours that follow each other: begin and end."""
    first = end = 0
    for hour in hours:
        if hour != end and end:
            yield first, end
        first, end = (first if hour == end and end else hour), hour + _HOUR_US
    if end:
        yield first, end


def read_tally(names: Sequence[str], values: Sequence[Any]) -> Tally:
    """Databases add integers up to decimals; NULL is the sum of nothing known."""
    kinds = Tally._field_defaults
    return Tally(**{name: type(kinds[name])(value or 0) for name, value in zip(names, values, strict=True)})


def _add(found: dict[str, UsageRecord], name: str, wait: int, tally: Tally) -> None:
    found[name] = found.get(name, UsageRecord(name)).plus(UsageRecord(name, tally, {wait: tally.jobs}))


def _name(by: UsageBy, cell: Cell) -> str:
    return {UsageBy.USER: cell.owner, UsageBy.QUEUE: cell.queue, UsageBy.KIND: cell.kind}[by]


def _row(cell: Cell, forgotten: int) -> dict[str, Any]:
    return {**cell._asdict(), "hour": to_micros(cell.hour), "forgotten": forgotten}


def _forget_sums(tx: Tx, hours: Collection[int]) -> None:
    tx.connection.execute(
        delete(usage_hours).where(usage_hours.c.hour.in_(hours), usage_hours.c.forgotten == number(0))
    )
