"""Statements and steps that several ports share: numbers, events, counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Table,
    bindparam,
    case,
    literal_column,
    select,
)

from tidegate.core.names import RESULT_PREFIX, source_key
from tidegate.core.resources import Resources
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.numbers import VALUE
from tidegate.store.schema import events, jobs, queues, sources, wanted, workers

T = TypeVar("T")


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`."""
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def word(value: str) -> ColumnElement[str]:
    """A fixed word inside a statement."""
    return literal_column(f"'{value}'", String)


def number(value: int) -> ColumnElement[int]:
    """A fixed number inside a statement."""
    return literal_column(str(value), Integer)


def by_index(table: Table, index: str, query: Select[Any]) -> Select[Any]:
    """A query that reads `table` by this index on MySQL and MariaDB, whatever their planner thinks.

    It counts entries of rows that have changed since and are not cleaned away yet, so that it would read all of a table of
    which many rows have just left the index. SQLite and PostgreSQL have indexes of few rows there.
    """
    hint = f"FORCE INDEX ({index})"
    return query.with_hint(table, hint, "mysql").with_hint(table, hint, "mariadb")


def insert_into(table: Table, columns: str) -> Statement:
    """Insert one row; `columns` in the order of the table."""
    return Statement(table.insert().values({name: bindparam(name) for name in columns.split()}), columns)


_INSERT_EVENT = insert_into(events, "job_id id task_number at type message data")
_QUEUE_COUNTS = Statement(
    queues.update()
    .values(waiting=queues.c.waiting + bindparam("waits"), running=queues.c.running + bindparam("runs"))
    .where(queues.c.name == bindparam("queue")),
    "waits runs queue",
)
_INSERT_QUEUE = insert_into(queues, "name weight paused")


def heard() -> dict[str, ColumnElement[int]]:
    """A sign of life `at`: the last one moves there, unless it is later, and the end of the lease as far."""
    later = workers.c.beat_at < bindparam("at", type_=BigInteger)
    moved = workers.c.lease_until + bindparam("at", type_=BigInteger) - workers.c.beat_at
    return {
        "lease_until": case((later, moved), else_=workers.c.lease_until),  # first: MySQL assigns one by one
        "beat_at": case((later, bindparam("at", type_=BigInteger)), else_=workers.c.beat_at),
    }


def level_now() -> ColumnElement[int]:
    """The level of a worker; normal for one that was last registered by a version that knows none."""
    return case((workers.c.level_at >= workers.c.registered_at, workers.c.level), else_=number(0))


HEARD_ORDER = "at at at at"
GENERATION = Statement(select(workers.c.generation).where(workers.c.id == bindparam("worker")), "worker")
"""Under which a worker is registered now."""


def _given_back() -> dict[str, ColumnElement[int]]:
    asked = {"cpu_milli": "cpu", "memory_bytes": "memory", "disk_bytes": "disk"}
    return {f"allocated_{name}": workers.c[f"allocated_{name}"] - bindparam(asked[name]) for name in asked}


_GIVE_BACK = Statement(
    workers.update().values(_given_back()).where(workers.c.id == bindparam("worker")),
    "cpu memory disk worker",
)
_GIVE_BACK_HEARD = Statement(
    workers.update().values(heard() | _given_back()).where(workers.c.id == bindparam("worker")),
    f"{HEARD_ORDER} cpu memory disk worker",
)

_DROP_RESERVATION = Statement(
    sources.delete().where(sources.c.name_key == bindparam("key"), sources.c.reserved_by == bindparam("job")),
    "key job",
)

EventRow = tuple[int, int | None, int, str, str, str]
"""Job, task number, instant, type, message, data as JSON."""


_LOCK_JOBS = Statement(
    select(jobs.c.id)
    .select_from(wanted.join(jobs, jobs.c.id == wanted.c.job_id))
    .order_by(jobs.c.id)
    .with_for_update(of=jobs)
)


def lock_jobs(tx: Tx, job_ids: Iterable[int]) -> None:
    """Keep other writers from these jobs, their tasks, attempts and allocations until this transaction ends.

    Done before anything of them is read: on PostgreSQL a query that waits for a lock still sees the rows of other tables
    as they were before it waited, while the next one sees what it waited for.
    """
    if tx.locks:
        tx.want((job_id, 0, 0) for job_id in set(job_ids))
        tx.do(_LOCK_JOBS)


def storable(job_id: int) -> bool:
    """Whether the number fits its column; a larger one can be no job's."""
    return -(2**63) <= job_id < 2**63


def take(tx: Tx, sequence: str, count: int = 1) -> int:
    """Take `count` numbers; the first of them. They are never given again, and held until this transaction ends."""
    return tx.take(sequence, count) - count + 1


def value_of(tx: Tx, sequence: str) -> int:
    """The number given last."""
    row = tx.one(VALUE, (sequence,))
    assert row is not None
    return int(row[0])


def add_events(tx: Tx, rows: list[EventRow]) -> None:
    """Store events in order; their ids grow in the order of commits."""
    if rows:
        tx.number("event", _INSERT_EVENT, [(row[0], i, *row[1:]) for i, row in enumerate(rows)])


def ensure_queue(tx: Tx, name: str) -> None:
    """Create a queue with the defaults unless it exists."""
    if not tx.run(_QUEUE_COUNTS, (0, 0, name)):
        tx.run(_INSERT_QUEUE, (name, 1, 0))


def count_in_queues(tx: Tx, changes: Mapping[str, tuple[int, int]]) -> None:
    """Add to how many tasks of each queue wait and run. The queues are there, since there are tasks of theirs."""
    tx.each(_QUEUE_COUNTS, [(waits, runs, name) for name, (waits, runs) in sorted(changes.items())])


def count_new_in_queues(tx: Tx, waiting: Mapping[str, int]) -> None:
    """Add new tasks to those that wait in each queue. Queues that do not exist are created."""
    for name, count in sorted(waiting.items()):
        if not tx.run(_QUEUE_COUNTS, (count, 0, name)):
            ensure_queue(tx, name)
            expect(tx.run(_QUEUE_COUNTS, (count, 0, name)), 1)


def give_back(tx: Tx, released: Iterable[tuple[str, Resources]], heard_at: int | None = None) -> None:
    """Take released allocations off their workers' counters; `heard_at` when it is the workers who say so."""
    sums: dict[str, Resources] = {}
    for worker_id, amount in released:
        sums[worker_id] = sums.get(worker_id, Resources()) + amount
    rows: list[Row] = [
        (s.cpu_milli, s.memory_bytes, s.disk_bytes, worker_id) for worker_id, s in sorted(sums.items())
    ]
    if heard_at is None:
        tx.each(_GIVE_BACK, rows)
    else:
        tx.each(_GIVE_BACK_HEARD, [(heard_at,) * 4 + row for row in rows])


def drop_reservations(tx: Tx, names: Iterable[tuple[str, str | None, int]]) -> None:
    """Free the result names (owner, name, job) that jobs had reserved.

    Default names are not reserved: nobody else may take one.
    """
    rows: list[Row] = [
        (source_key(owner, name), job_id)
        for owner, name, job_id in names
        if name is not None and not name.startswith(RESULT_PREFIX)
    ]
    tx.many(_DROP_RESERVATION, sorted(rows))
