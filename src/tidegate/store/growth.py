"""The tasks of a job: those it comes with, those that tasks of it add, and its last one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, func

from tidegate.core.job import TaskOrder
from tidegate.core.resources import Resources
from tidegate.store.engine import Raced, Row, Tx
from tidegate.store.kept import Known, results
from tidegate.store.schema import jobs, tasks
from tidegate.store.shared import chunks, insert_into
from tidegate.store.values import from_json, to_json

_AT_ONCE = 2000
"""Tasks that are in memory at a time while many are added: about 2 MB."""

INSERT_TASK = insert_into(
    tasks,
    "job_id number name state queued_at not_before change result spec cpu_milli memory_bytes disk_bytes timeout_s",
)
Times = tuple[int | None, int | None, int | None]
"""`queued_at`, `not_before` and `change` of a task."""
_ENDED: Times = (None, None, None)


def own_amounts() -> tuple[ColumnElement[int], ...]:
    """What a task asks for, in a query over tasks and jobs."""
    names = ("cpu_milli", "memory_bytes", "disk_bytes")
    return tuple(func.coalesce(tasks.c[name], jobs.c[name]) for name in names)


def own_timeout_s() -> ColumnElement[float]:
    return func.coalesce(tasks.c.timeout_s, jobs.c.timeout_s)


def task_row(
    job_id: int, number: int, order: TaskOrder, state: str, times: Times, result: str | None = None
) -> Row:
    """A row of `INSERT_TASK`."""
    asked = order.resources
    amounts = (None,) * 3 if asked is None else (asked.cpu_milli, asked.memory_bytes, asked.disk_bytes)
    return (job_id, number, order.name, state, *times, result, to_json(order.spec), *amounts, order.timeout_s)


def ended_row(job_id: int, number: int, order: TaskOrder, result: str) -> Row:
    """A row of `INSERT_TASK` for a task that has succeeded before anything ran."""
    return task_row(job_id, number, order, "succeeded", _ENDED, result)


def add_tasks(
    tx: Tx, job_id: int, first: int, orders: Collection[TaskOrder], at: int, change: int, known: Known
) -> None:
    """Add tasks under the numbers from `first` on, without having all of them in memory: queued, or ended if `known`."""
    for chunk in chunks(enumerate(orders, first), _AT_ONCE):
        found = results(tx, known.owner, (o.digest for _, o in chunk if o.digest in known.digests))
        rows: list[Row] = []
        for number, order in chunk:
            if known.has(order):
                rows.append(ended_row(job_id, number, order, _result(order, found)))
            else:
                rows.append(task_row(job_id, number, order, "queued", (at, None, change)))
        tx.each(INSERT_TASK, rows)


def _result(order: TaskOrder, found: Mapping[str, str]) -> str:
    if order.result is not None:
        return to_json(order.result)
    text = found.get(order.digest or "")
    if text is None:  # it was forgotten since we asked which there are
        raise Raced
    return text


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
