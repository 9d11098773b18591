"""Statements and steps that several ports share: numbers, events, counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, Table, bindparam, literal_column, select

from tidegate.core.names import RESULT_PREFIX
from tidegate.core.resources import Resources
from tidegate.store import rules
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.schema import events, queues, sequences, sources, workers


def word(value: str) -> ColumnElement[str]:
    """A fixed word inside a statement."""
    return literal_column(f"'{value}'")


def number(value: int) -> ColumnElement[int]:
    """A fixed number inside a statement."""
    return literal_column(str(value))


def insert_into(table: Table, columns: str) -> Statement:
    """Insert one row; `columns` in the order of the table."""
    return Statement(table.insert().values({name: bindparam(name) for name in columns.split()}), columns)


_ADVANCE = Statement(
    sequences.update()
    .values(value=sequences.c.value + bindparam("count"))
    .where(sequences.c.name == bindparam("sequence")),
    "count sequence",
)
_VALUE = Statement(select(sequences.c.value).where(sequences.c.name == bindparam("sequence")), "sequence")
_INSERT_EVENT = insert_into(events, "job_id id task_number at type message data")
_QUEUE_COUNTS = Statement(
    queues.update()
    .values(waiting=queues.c.waiting + bindparam("waits"), running=queues.c.running + bindparam("runs"))
    .where(queues.c.name == bindparam("queue")),
    "waits runs queue",
)
_INSERT_QUEUE = insert_into(queues, "name weight paused")
_GIVE_BACK = Statement(
    workers.update()
    .values(
        allocated_cpu_milli=workers.c.allocated_cpu_milli - bindparam("cpu"),
        allocated_memory_bytes=workers.c.allocated_memory_bytes - bindparam("memory"),
        allocated_disk_bytes=workers.c.allocated_disk_bytes - bindparam("disk"),
    )
    .where(workers.c.id == bindparam("worker")),
    "cpu memory disk worker",
)

_DROP_RESERVATION = Statement(
    sources.delete().where(sources.c.name_key == bindparam("key"), sources.c.reserved_by == bindparam("job")),
    "key job",
)

EventRow = tuple[int, int | None, int, str, str, str]
"""Job, task number, instant, type, message, data as JSON."""


def storable(job_id: int) -> bool:
    """Whether the number fits its column; a larger one can be no job's."""
    return -(2**63) <= job_id < 2**63


def take(tx: Tx, sequence: str, count: int = 1) -> int:
    """Take `count` numbers; the first of them. They are never given again, and held until this transaction ends."""
    expect(tx.run(_ADVANCE, (count, sequence)), 1)
    return value_of(tx, sequence) - count + 1


def value_of(tx: Tx, sequence: str) -> int:
    """The number given last."""
    row = tx.one(_VALUE, (sequence,))
    assert row is not None
    return int(row[0])


def add_events(tx: Tx, rows: list[EventRow]) -> None:
    """Store events in order; their ids grow in the order of commits."""
    if rows:
        first = take(tx, "event", len(rows))
        tx.many(_INSERT_EVENT, [(row[0], first + i, *row[1:]) for i, row in enumerate(rows)])


def ensure_queue(tx: Tx, name: str) -> None:
    """Create a queue with the defaults unless it exists."""
    if not tx.run(_QUEUE_COUNTS, (0, 0, name)):
        tx.run(_INSERT_QUEUE, (name, 1, 0))


def count_in_queues(tx: Tx, changes: Mapping[str, tuple[int, int]]) -> None:
    """Add to how many tasks of each queue wait and run. Queues that do not exist are created."""
    for name, (waits, runs) in changes.items():
        if not tx.run(_QUEUE_COUNTS, (waits, runs, name)):
            ensure_queue(tx, name)
            expect(tx.run(_QUEUE_COUNTS, (waits, runs, name)), 1)


def give_back(tx: Tx, released: Iterable[tuple[str, Resources]]) -> None:
    """Take released allocations off their workers' counters."""
    sums: dict[str, Resources] = {}
    for worker_id, amount in released:
        sums[worker_id] = sums.get(worker_id, Resources()) + amount
    rows: list[Row] = [
        (s.cpu_milli, s.memory_bytes, s.disk_bytes, worker_id) for worker_id, s in sums.items()
    ]
    expect(tx.many(_GIVE_BACK, rows), len(rows))


def drop_reservations(tx: Tx, names: Iterable[tuple[str | None, int]]) -> None:
    """Free the result names that jobs had reserved. Default names are not reserved: nobody else may take one."""
    rows = [
        (rules.name_key(name), job_id)
        for name, job_id in names
        if name is not None and not name.startswith(RESULT_PREFIX)
    ]
    tx.many(_DROP_RESERVATION, rows)
