"""The tasks of a job: those it comes with, those that tasks of it add, and its last one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import ColumnElement, func

from tidegate.core.job import TaskOrder
from tidegate.core.resources import Resources
from tidegate.store.engine import Row, Tx
from tidegate.store.schema import jobs, tasks
from tidegate.store.shared import insert_into
from tidegate.store.values import from_json, to_json

T = TypeVar("T")

_AT_ONCE = 2000
"""Tasks that are in memory at a time while many are added: about 2 MB."""

INSERT_TASK = insert_into(
    tasks,
    "job_id number name state queued_at not_before change spec cpu_milli memory_bytes disk_bytes timeout_s",
)


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`."""
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def own_amounts() -> tuple[ColumnElement[int], ...]:
    """What a task asks for, in a query over tasks and jobs."""
    names = ("cpu_milli", "memory_bytes", "disk_bytes")
    return tuple(func.coalesce(tasks.c[name], jobs.c[name]) for name in names)


def own_timeout_s() -> ColumnElement[float]:
    return func.coalesce(tasks.c.timeout_s, jobs.c.timeout_s)


def task_row(
    job_id: int, number: int, order: TaskOrder, state: str, times: tuple[int | None, int | None, int | None]
) -> Row:
    """A row of `INSERT_TASK`; `times` are `queued_at`, `not_before` and `change`."""
    asked = order.resources
    amounts = (None,) * 3 if asked is None else (asked.cpu_milli, asked.memory_bytes, asked.disk_bytes)
    return (job_id, number, order.name, state, *times, to_json(order.spec), *amounts, order.timeout_s)


def add_tasks(tx: Tx, job_id: int, first: int, orders: Collection[TaskOrder], at: int, change: int) -> None:
    """Queue tasks under the numbers from `first` on, without having all of them in memory."""
    numbered = enumerate(orders, first)
    for chunk in chunks(numbered, _AT_ONCE):
        rows = [task_row(job_id, number, order, "queued", (at, None, change)) for number, order in chunk]
        tx.each(INSERT_TASK, rows)


def order_to_json(order: TaskOrder | None) -> str | None:
    """A job's last task while it waits to come."""
    if order is None:
        return None
    asked = order.resources
    amounts = None if asked is None else [asked.cpu_milli, asked.memory_bytes, asked.disk_bytes]
    return to_json(
        {"name": order.name, "spec": dict(order.spec), "amounts": amounts, "timeout_s": order.timeout_s}
    )


def order_from_json(text: str) -> TaskOrder:
    fields = from_json(text)
    amounts: Sequence[int] | None = fields["amounts"]
    asked = None if amounts is None else Resources(*amounts)
    return TaskOrder(fields["name"], fields["spec"], asked, fields["timeout_s"])
