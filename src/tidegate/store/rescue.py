"""Workers as the leader watches over them, and the ends of what dead ones held."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, select

from tidegate.core.attempt import AttemptEnd, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.membership import Beat
from tidegate.ports import LostAttempt
from tidegate.store.engine import Statement, Tx
from tidegate.store.leaders import must_lead
from tidegate.store.live import IS_LIVE, LIVE
from tidegate.store.reports import report
from tidegate.store.schema import allocations, attempts, jobs, tasks, workers
from tidegate.store.shared import number
from tidegate.store.values import from_micros, to_micros

_BEATS = Statement(
    select(workers.c.id, workers.c.generation, workers.c.beat_at, workers.c.lease_until)
    .where(workers.c.present == number(1))
    .order_by(workers.c.id)
)
_DECLARE_DEAD = Statement(
    workers.update()
    .values(generation=workers.c.generation + number(1), present=number(0), lease_until=bindparam("at"))
    .where(
        workers.c.id == bindparam("worker"),
        workers.c.generation == bindparam("seen_generation"),
        workers.c.beat_at == bindparam("seen_at"),
        workers.c.present == number(1),
    ),
    "at worker seen_generation seen_at",
)
_GENERATIONS = Statement(select(workers.c.id, workers.c.generation, workers.c.present))
_HELD_BY = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, attempts.c.worker_id, attempts.c.generation,
        jobs.c.max_attempts, tasks.c.losses, tasks.c.put_back, jobs.c.kind,
    )
    .select_from(LIVE.join(tasks, and_(tasks.c.job_id == attempts.c.job_id, tasks.c.number == attempts.c.number)))
    .where(*IS_LIVE, allocations.c.worker_id == bindparam("worker")),
    "worker",
)  # fmt: skip


def beats(tx: Tx) -> list[Beat]:
    """See `RescueStore.beats`."""
    return [
        Beat(worker_id, generation, from_micros(beat_at), (lease_until - beat_at) / 1e6)
        for worker_id, generation, beat_at, lease_until in tx.rows(_BEATS)
    ]


def declare_dead(tx: Tx, beat: Beat, at: datetime, epoch: int) -> bool:
    """See `RescueStore.declare_dead`."""
    must_lead(tx, epoch)
    row = (to_micros(at), beat.worker_id, beat.generation, to_micros(beat.beat_at))
    return tx.run(_DECLARE_DEAD, row) == 1


def lost(tx: Tx) -> list[LostAttempt]:
    """See `RescueStore.lost`."""
    found: list[LostAttempt] = []
    # Workers are few; a join over all of them would read all attempts.
    for worker_id, generation, present in tx.rows(_GENERATIONS):
        held = (
            LostAttempt(AttemptKey(*row[:3]), row[3], row[4], row[5], row[6], row[7], bool(present), row[8])
            for row in tx.rows(_HELD_BY, (worker_id,))
        )
        found += (attempt for attempt in held if not present or attempt.generation != generation)
    return sorted(found, key=lambda attempt: attempt.key)


def end_lost(tx: Tx, ends: Sequence[AttemptEnd], epoch: int) -> Recorded:
    """See `RescueStore.end_lost`."""
    must_lead(tx, epoch)
    return report(tx, ends, heard=False)
