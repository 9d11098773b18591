"""The store's care of itself: recounting everything, and forgetting what is past retention."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate

from sqlalchemy import ColumnElement, Select, Table, delete, select, text

from tidegate.errors import LedgerError
from tidegate.store import rules
from tidegate.store.archive import move
from tidegate.store.engine import Tx
from tidegate.store.schema import allocations, attempts, events, jobs, quarantine, tasks
from tidegate.store.shared import drop_reservations, lock_jobs
from tidegate.store.usage import remember
from tidegate.store.values import to_micros

_PRUNED_AT_ONCE = 500
_TASKS_PRUNED_AT_ONCE = 20_000
"""So that jobs of many tasks do not make one transaction that others have to wait for."""

_AMOUNTS = ("cpu_milli", "memory_bytes", "disk_bytes")
_STATES = ("scheduled", "queued", "running", "succeeded", "failed", "cancelled")
_SAME_ATTEMPT = "l.job_id = a.job_id AND l.number = a.number AND l.attempt = a.attempt"

_SUMS = ", ".join(f"COALESCE(SUM(l.{name}), 0)" for name in _AMOUNTS)
_STATED = ", ".join(f"w.allocated_{name}" for name in _AMOUNTS)
_COUNTED = ", ".join(
    f"COALESCE(SUM(CASE WHEN t.state = '{state}' THEN 1 ELSE 0 END), 0)" for state in _STATES
)
_COUNTS = ", ".join(f"j.tasks_{state}" for state in _STATES)


_SHARING = f"""
        SELECT l.job_id AS job_id, COALESCE(l.head_number, l.number) AS number,
            COALESCE(l.head_attempt, l.attempt) AS attempt, COUNT(a.job_id) AS live
        FROM allocations l LEFT JOIN attempts a ON {_SAME_ATTEMPT} AND a.state IN ('starting', 'running')
        WHERE l.released_at IS NULL
        GROUP BY l.job_id, COALESCE(l.head_number, l.number), COALESCE(l.head_attempt, l.attempt)"""


def _differ(stated: str, counted: str) -> str:
    pairs = zip(_columns(stated), _columns(counted), strict=True)
    return " OR ".join(f"{one} <> {other}" for one, other in pairs)


def _columns(listed: str) -> list[str]:
    """Split at commas that stand outside of parentheses."""
    parts, depth = [""], 0
    for sign in listed:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


# What must not exist, each with the sentence that says so; the query answers names of what is wrong.
_WRONG = {
    "the worker's counters differ from the sum of its live allocations": f"""
        SELECT w.id FROM workers w LEFT JOIN allocations l ON l.worker_id = w.id AND l.released_at IS NULL
        GROUP BY w.id, {_STATED} HAVING {_differ(_STATED, _SUMS)}""",
    "more is allocated on the worker than it can give": "SELECT w.id FROM workers w WHERE w.shrunk = 0 AND ("
    + " OR ".join(f"w.allocated_{name} > w.allocatable_{name}" for name in _AMOUNTS)
    + ")",
    "a counter of the worker is negative": "SELECT w.id FROM workers w WHERE "
    + " OR ".join(f"w.allocated_{name} < 0" for name in _AMOUNTS),
    "the live attempt has no live allocation": f"""
        SELECT a.job_id FROM attempts a LEFT JOIN allocations l ON {_SAME_ATTEMPT} AND l.released_at IS NULL
        WHERE a.state IN ('starting', 'running') AND l.job_id IS NULL""",
    "the attempt has ended, and its allocation was neither released nor kept": f"""
        SELECT l.job_id FROM allocations l JOIN attempts a ON {_SAME_ATTEMPT}
        WHERE l.released_at IS NULL AND l.kept = 0 AND a.state NOT IN ('starting', 'running')
        AND (l.head_number IS NOT NULL OR l.sharing = 0)""",
    "the allocation counts other attempts than share it": f"""
        SELECT h.job_id FROM allocations h LEFT JOIN ({_SHARING}) s
        ON s.job_id = h.job_id AND s.number = h.number AND s.attempt = h.attempt
        WHERE h.released_at IS NULL AND h.kept = 0 AND h.head_number IS NULL AND h.sharing <> COALESCE(s.live, 0)""",
    "the live attempt shares an allocation that is not live": """
        SELECT l.job_id FROM allocations l LEFT JOIN allocations h ON h.job_id = l.job_id AND h.number = l.head_number
        AND h.attempt = l.head_attempt AND h.released_at IS NULL
        WHERE l.released_at IS NULL AND l.head_number IS NOT NULL AND (h.job_id IS NULL OR h.worker_id <> l.worker_id)""",
    "the allocation belongs to no attempt": f"""
        SELECT l.job_id FROM allocations l LEFT JOIN attempts a ON {_SAME_ATTEMPT} WHERE a.job_id IS NULL""",
    "the live attempt is not the newest of a running task": """
        SELECT a.job_id FROM attempts a JOIN tasks t ON t.job_id = a.job_id AND t.number = a.number
        WHERE a.state IN ('starting', 'running') AND (t.state <> 'running' OR t.attempts <> a.attempt)""",
    "the task runs without a live attempt": """
        SELECT t.job_id FROM tasks t
        LEFT JOIN attempts a ON a.job_id = t.job_id AND a.number = t.number AND a.attempt = t.attempts
        WHERE t.state = 'running' AND (a.state IS NULL OR a.state NOT IN ('starting', 'running'))""",
    "the job's counters differ from its tasks": f"""
        SELECT j.id FROM jobs j LEFT JOIN tasks t ON t.job_id = j.id
        GROUP BY j.id, j.task_count, {_COUNTS} HAVING {_differ(_COUNTS, _COUNTED)} OR j.task_count <> COUNT(t.number)""",
    "the queue's counters differ from its tasks": """
        SELECT q.name FROM queues q LEFT JOIN (SELECT j.queue AS queue,
            SUM(j.tasks_scheduled + j.tasks_queued) AS waiting, SUM(j.tasks_running) AS running
            FROM jobs j WHERE j.status <> 'SUCCEEDED' AND j.finished_at IS NULL GROUP BY j.queue) c ON c.queue = q.name
        LEFT JOIN (SELECT j.queue AS queue, SUM(l.sharing - 1) AS shared FROM allocations l JOIN jobs j ON j.id = l.job_id
            WHERE l.released_at IS NULL AND l.sharing > 1 GROUP BY j.queue) s ON s.queue = q.name
        WHERE q.waiting <> COALESCE(c.waiting, 0) OR q.running <> COALESCE(c.running, 0) - COALESCE(s.shared, 0)""",
    "the task waits though its job is to be cancelled": """
        SELECT j.id FROM jobs j WHERE j.cancel_requested_at IS NOT NULL AND j.tasks_scheduled + j.tasks_queued > 0""",
    "the queued task has no change number": """
        SELECT t.job_id FROM tasks t WHERE t.state = 'queued' AND t.change IS NULL""",
    "a result's name is reserved for a job that has ended": """
        SELECT s.name FROM sources s LEFT JOIN jobs j ON j.id = s.reserved_by
        WHERE s.reserved_by IS NOT NULL AND (j.id IS NULL OR j.finished_at IS NOT NULL)""",
}


def check(tx: Tx) -> None:
    """See `Store.check`."""
    tx.scan()
    wrong: list[str] = []
    for sentence, query in _WRONG.items():
        found = [str(name) for name in tx.connection.scalars(text(f"{query} LIMIT 5"))]
        if found:
            wrong.append(f"{sentence}: {', '.join(found)}")
    wrong += _wrong_statuses(tx)
    if wrong:
        raise LedgerError("The ledger does not add up. " + "; ".join(wrong) + ".")


def _wrong_statuses(tx: Tx) -> list[str]:
    """Jobs whose status does not follow from their tasks, counted per combination, so that it is quick for millions."""
    columns = [jobs.c[f"tasks_{state}"] for state in _STATES]
    final = jobs.c.finished_at.is_not(None)
    present = [column > 0 for column in columns]
    query = select(jobs.c.status, final, *present).distinct()
    wrong = []
    for status, finished, *some in tx.connection.execute(query):
        follows = rules.status_of(dict(zip(rules.TASK_STATES, map(int, some), strict=True)))
        if follows.value != status or follows.final != bool(finished):
            wrong.append(f"jobs are {status} though their tasks make them {follows.value}")
    return wrong


def prune(tx: Tx, before: datetime) -> list[int]:
    """Archive some of the jobs that finished before; their ids, an empty list when none is left. Sources stay."""
    query = (
        select(jobs.c.id, jobs.c.owner, jobs.c.result_name, jobs.c.task_count)
        .where(jobs.c.finished_at < to_micros(before))
        .where(~_kept(jobs.c.id).exists())
        .order_by(jobs.c.finished_at)
        .limit(_PRUNED_AT_ONCE)
    )
    counted = [tuple(row) for row in tx.connection.execute(query)]
    sums = accumulate(row[3] for row in counted)
    rows = [row for row, tasks_so_far in zip(counted, sums, strict=True)
            if row is counted[0] or tasks_so_far <= _TASKS_PRUNED_AT_ONCE]  # fmt: skip
    if rows and tx.locks:  # another server may be about to do the same
        lock_jobs(tx, (row[0] for row in rows))
        there = set(tx.connection.scalars(select(jobs.c.id).where(jobs.c.id.in_([row[0] for row in rows]))))
        rows = [row for row in rows if row[0] in there]
    ids = [row[0] for row in rows]
    if ids:
        move(tx, ids)
        remember(tx, ids)
        drop_reservations(tx, [(owner, name, job_id) for job_id, owner, name, _ in rows])
        for table in (quarantine, events, allocations, attempts, tasks):
            _delete(tx, table, ids)
        tx.connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
    return ids


def _kept(job_id: ColumnElement[int]) -> Select[tuple[int]]:
    """Allocations that a job's dead attempts still hold; such a job is not forgotten."""
    return select(allocations.c.job_id).where(
        allocations.c.job_id == job_id, allocations.c.released_at.is_(None)
    )


def _delete(tx: Tx, table: Table, ids: list[int]) -> None:
    tx.connection.execute(delete(table).where(table.c.job_id.in_(ids)))
