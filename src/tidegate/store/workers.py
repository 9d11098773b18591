"""Workers as operators see them, and what they hold."""

from __future__ import annotations

from sqlalchemy import Integer, and_, bindparam, func, or_, select

from tidegate.core.identity import Action, Caller
from tidegate.core.job import AttemptKey
from tidegate.core.pressure import Level
from tidegate.core.readings import Readings, readings_from
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState
from tidegate.errors import NotFound
from tidegate.ports import Draining, Held, LiveAttempt, WorkerRecord
from tidegate.store import audit, rules
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.live import LIVE_STATES
from tidegate.store.schema import allocations, attempts, jobs, tasks, wanted, workers
from tidegate.store.shared import level_now, number
from tidegate.store.values import from_json, from_micros, from_micros_or_none, labels_from_json

_KNOWN = Statement(
    select(
        workers.c.id, workers.c.hostname, workers.c.generation, workers.c.present, workers.c.draining,
        workers.c.registered_at, workers.c.beat_at, workers.c.lease_until,
        workers.c.capacity_cpu_milli, workers.c.capacity_memory_bytes, workers.c.capacity_disk_bytes,
        workers.c.allocatable_cpu_milli, workers.c.allocatable_memory_bytes, workers.c.allocatable_disk_bytes,
        workers.c.allocated_cpu_milli, workers.c.allocated_memory_bytes, workers.c.allocated_disk_bytes,
        workers.c.labels, workers.c.versions, workers.c.rungs, workers.c.stats,
        level_now(), workers.c.level_since, workers.c.readings,
    ).order_by(workers.c.id)
)  # fmt: skip
_RUNNING = Statement(
    select(allocations.c.worker_id, func.count())
    .where(allocations.c.released_at.is_(None))
    .group_by(allocations.c.worker_id)
)
_HELD = Statement(
    select(
        allocations.c.job_id, allocations.c.number, allocations.c.attempt, allocations.c.worker_id,
        allocations.c.cpu_milli, allocations.c.memory_bytes, allocations.c.disk_bytes,
    ).where(allocations.c.released_at.is_(None))
)  # fmt: skip
_LIVE = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, attempts.c.worker_id, attempts.c.state,
        attempts.c.started_at, jobs.c.kind, tasks.c.name, jobs.c.owner, jobs.c.queue,
    )
    .select_from(
        wanted.join(
            attempts, and_(*(attempts.c[name] == wanted.c[name] for name in ("job_id", "number", "attempt")))
        )
        .join(tasks, and_(tasks.c.job_id == attempts.c.job_id, tasks.c.number == attempts.c.number))
        .join(jobs, jobs.c.id == attempts.c.job_id)
    )
    .where(attempts.c.state.in_(LIVE_STATES))
    .order_by(attempts.c.job_id, attempts.c.number, attempts.c.attempt)
)  # fmt: skip
_DRAIN = Statement(
    workers.update()
    .values(draining=bindparam("wanted"))
    .where(
        workers.c.id == bindparam("worker"),
        or_(
            bindparam("again", type_=Integer) != number(Draining.LEAVING),
            workers.c.draining == number(Draining.NO),
        ),
    ),
    "wanted worker again",
)


def workers_of(tx: Tx) -> list[WorkerRecord]:
    """See `WorkerStore.workers`."""
    running = {str(row[0]): int(row[1]) for row in tx.rows(_RUNNING)}
    records = (_record(row, running.get(row[0], 0)) for row in tx.rows(_KNOWN))
    return [record for record in records if record.present or record.running]


def drain(tx: Tx, worker_id: str, draining: Draining, by: Caller | None = None) -> WorkerRecord:
    """See `WorkerStore.drain`."""
    tx.run(_DRAIN, (int(draining), worker_id, int(draining)))
    known = workers_of(tx)
    for record in known:
        if record.id == worker_id:
            order = rules.worker_order(draining)
            audit.record(tx, by, Action.CONTROL_WORKER, f"worker {worker_id}", order=order)
            return record
    names = ", ".join(record.id for record in known) or "none yet"
    raise NotFound(f"There is no worker {worker_id!r:.80}. Known workers: {names}.")


def live(tx: Tx) -> list[LiveAttempt]:
    """See `WorkerStore.live`."""
    # By what is allocated: its index holds what is live alone, while attempts would be read from the first to the last.
    tx.want(row[:3] for row in tx.rows(_HELD))
    return [
        LiveAttempt(
            AttemptKey(*row[:3]), row[3], row[4] == AttemptState.RUNNING, from_micros(row[5]), *row[6:]
        )
        for row in tx.rows(_LIVE)
    ]


def held(tx: Tx) -> list[Held]:
    """See `WorkerStore.held`."""
    return [Held(AttemptKey(*row[:3]), row[3], Resources(*row[4:])) for row in tx.rows(_HELD)]


def _record(row: Row, running: int) -> WorkerRecord:
    return WorkerRecord(
        id=row[0],
        hostname=row[1],
        generation=row[2],
        present=bool(row[3]),
        draining=Draining(row[4]),
        registered_at=from_micros(row[5]),
        beat_at=from_micros(row[6]),
        lease_until=from_micros(row[7]),
        capacity=Resources(*row[8:11]),
        allocatable=Resources(*row[11:14]),
        allocated=Resources(*row[14:17]),
        labels=labels_from_json(row[17]),
        versions=from_json(row[18]),
        rungs=tuple(from_json(row[19])),
        running=running,
        stats=from_json(row[20]) if row[20] else {},
        level=Level(row[21]),
        level_since=from_micros_or_none(row[22]),
        readings=readings_from(from_json(row[23])) if row[23] else Readings(),
    )
