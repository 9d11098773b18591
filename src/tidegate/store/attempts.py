"""Workers: how they come, stay, claim attempts and are lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, bindparam, case, or_, select

from tidegate.core.job import Assignment, AttemptEnd, AttemptKey, AttemptState, TaskState
from tidegate.core.resources import Resources
from tidegate.ports import LostAttempt, WorkerInfo
from tidegate.store import rules
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.reports import report
from tidegate.store.schema import allocations, attempts, jobs, tasks, wanted, workers
from tidegate.store.shared import insert_into, number, word
from tidegate.store.values import PRIORITIES, from_json, labels_to_json, to_json, to_micros

_OFFER = (
    "lease_until beat_at capacity_cpu_milli capacity_memory_bytes capacity_disk_bytes allocatable_cpu_milli "
    "allocatable_memory_bytes allocatable_disk_bytes"
)
_ABOUT = "hostname labels versions rungs"
_INSERT_WORKER = insert_into(
    workers, f"id generation present {_OFFER.replace('lease_until', 'lease_until registered_at')} {_ABOUT}"
)


def _shrunk() -> ColumnElement[int]:
    """1 while more is allocated than the worker can offer now."""
    over = [
        workers.c[f"allocated_{name}"] > bindparam(f"new_{name}")
        for name in ("cpu_milli", "memory_bytes", "disk_bytes")
    ]
    return case((or_(*over), number(1)), else_=number(0))


def _values(names: str) -> dict[str, object]:
    return {name: bindparam(f"set_{name}") for name in names.split()}


def _set(names: str) -> str:
    return " ".join(f"set_{name}" for name in names.split())


_NEW_AMOUNTS = "new_cpu_milli new_memory_bytes new_disk_bytes"
_RETURN = Statement(
    workers.update()
    .values(
        _values(f"{_OFFER} {_ABOUT} registered_at")
        | {"generation": workers.c.generation + number(1), "present": number(1), "shrunk": _shrunk()}
    )
    .where(workers.c.id == bindparam("worker")),
    f"{_set(_OFFER.replace('lease_until', 'lease_until registered_at'))} {_NEW_AMOUNTS} {_set(_ABOUT)} worker",
)
_GENERATION = Statement(select(workers.c.generation).where(workers.c.id == bindparam("worker")), "worker")
_BEAT = Statement(
    workers.update()
    .values(_values(f"{_OFFER} {_ABOUT}") | {"shrunk": _shrunk()})
    .where(
        workers.c.id == bindparam("worker"),
        workers.c.generation == bindparam("now_generation"),
        workers.c.present == number(1),
    ),
    f"{_set(_OFFER)} {_NEW_AMOUNTS} {_set(_ABOUT)} worker now_generation",
)
_LEAVE = Statement(
    workers.update()
    .values(present=number(0), lease_until=bindparam("at"))
    .where(
        workers.c.id == bindparam("worker"),
        workers.c.generation == bindparam("now_generation"),
        workers.c.present == number(1),
    ),
    "at worker now_generation",
)

_live = allocations.join(
    attempts,
    and_(*(attempts.c[name] == allocations.c[name] for name in ("job_id", "number", "attempt"))),
).join(jobs, jobs.c.id == attempts.c.job_id)
_is_live = (
    allocations.c.released_at.is_(None),
    attempts.c.state.in_([word(AttemptState.STARTING), word(AttemptState.RUNNING)]),
)
_TO_STOP = Statement(
    select(attempts.c.job_id, attempts.c.number, attempts.c.attempt)
    .select_from(_live)
    .where(
        *_is_live, allocations.c.worker_id == bindparam("worker"), jobs.c.cancel_requested_at.is_not(None)
    ),
    "worker",
)
_HELD_BY = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, attempts.c.worker_id, attempts.c.generation,
        jobs.c.max_attempts, tasks.c.losses,
    )
    .select_from(_live.join(tasks, and_(tasks.c.job_id == attempts.c.job_id, tasks.c.number == attempts.c.number)))
    .where(*_is_live, allocations.c.worker_id == bindparam("worker")),
    "worker",
)  # fmt: skip
_LEASES = Statement(select(workers.c.id, workers.c.generation, workers.c.lease_until))

_CLAIMABLE = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, jobs.c.cancel_requested_at, jobs.c.kind, jobs.c.owner,
        jobs.c.queue, tasks.c.name, jobs.c.spec, tasks.c.spec, allocations.c.cpu_milli, allocations.c.memory_bytes,
        allocations.c.disk_bytes, jobs.c.timeout_s, jobs.c.max_attempts, tasks.c.losses, jobs.c.result_name, jobs.c.priority,
    )
    .select_from(
        wanted.join(
            attempts, and_(*(attempts.c[name] == wanted.c[name] for name in ("job_id", "number", "attempt")))
        )
        .join(tasks, and_(tasks.c.job_id == attempts.c.job_id, tasks.c.number == attempts.c.number))
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(
            allocations, and_(*(allocations.c[name] == attempts.c[name] for name in ("job_id", "number", "attempt")))
        )
    )
    .where(
        attempts.c.state == word(AttemptState.STARTING),
        attempts.c.worker_id == bindparam("worker"),
        attempts.c.generation == bindparam("now_generation"),
    ),
    "worker now_generation",
)  # fmt: skip
_CLAIM = Statement(
    attempts.update()
    .values(state=word(AttemptState.RUNNING), claimed_at=bindparam("at"))
    .where(
        attempts.c.job_id == bindparam("job"),
        attempts.c.number == bindparam("task"),
        attempts.c.attempt == bindparam("try"),
        attempts.c.state == word(AttemptState.STARTING),
    ),
    "at job task try",
)


def _offer_row(worker: WorkerInfo, lease_until: int, at: int) -> tuple[Row, Row, Row]:
    """Offer, amounts to compare with, description: in the order of the statements."""
    capacity = (worker.capacity.cpu_milli, worker.capacity.memory_bytes, worker.capacity.disk_bytes)
    allocatable = (
        worker.allocatable.cpu_milli,
        worker.allocatable.memory_bytes,
        worker.allocatable.disk_bytes,
    )
    about = (
        worker.hostname,
        labels_to_json(worker.labels),
        to_json(dict(worker.versions)),
        to_json(list(worker.rungs)),
    )
    return (lease_until, at, *capacity, *allocatable), allocatable, about


def _lease(at: datetime, lease_s: float) -> tuple[int, int]:
    return to_micros(at + timedelta(seconds=lease_s)), to_micros(at)


def register(tx: Tx, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
    """See `AttemptStore.register`."""
    offer, amounts, about = _offer_row(worker, *_lease(at, lease_s))
    offer = (offer[0], to_micros(at), *offer[1:])
    if not tx.run(_RETURN, (*offer, *amounts, *about, worker.id)):
        tx.run(_INSERT_WORKER, (worker.id, 1, 1, *offer, *about))
    row = tx.one(_GENERATION, (worker.id,))
    assert row is not None
    return int(row[0])


def beat(
    tx: Tx, worker: WorkerInfo, generation: int, at: datetime, lease_s: float
) -> list[AttemptKey] | None:
    """See `AttemptStore.beat`."""
    offer, amounts, about = _offer_row(worker, *_lease(at, lease_s))
    if not tx.run(_BEAT, (*offer, *amounts, *about, worker.id, generation)):
        return None
    return [AttemptKey(*row) for row in tx.rows(_TO_STOP, (worker.id,))]


def unregister(tx: Tx, worker_id: str, generation: int, at: datetime) -> bool:
    """See `AttemptStore.unregister`. What it still holds is lost from now on."""
    return tx.run(_LEAVE, (to_micros(at), worker_id, generation)) == 1


def claim(
    tx: Tx, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime
) -> list[Assignment]:
    """See `AttemptStore.claim`."""
    if not keys or tx.one(_GENERATION, (worker_id,)) != (generation,):
        return []
    tx.want(set(keys))
    found = {AttemptKey(*row[:3]): row[3:] for row in tx.rows(_CLAIMABLE, (worker_id, generation))}
    mine = [(key, found[key]) for key in dict.fromkeys(keys) if key in found]
    cancelled = [key for key, row in mine if row[0] is not None]
    claimed = [(key, row) for key, row in mine if row[0] is None]
    rows: list[Row] = [(to_micros(at), *key) for key, _ in claimed]
    expect(tx.many(_CLAIM, rows), len(rows))
    report(tx, list(_unstarted(cancelled, worker_id, generation, at)))
    return [_assignment(key, row) for key, row in claimed]


def _unstarted(
    keys: Iterable[AttemptKey], worker_id: str, generation: int, at: datetime
) -> Iterable[AttemptEnd]:
    for key in keys:
        yield AttemptEnd(
            key,
            worker_id,
            generation,
            AttemptState.FAILED,
            at,
            TaskState.CANCELLED,
            exit=rules.CANCELLED_STARTING,
        )


def _assignment(key: AttemptKey, row: Row) -> Assignment:
    (
        _,
        kind,
        owner,
        queue,
        name,
        spec,
        own,
        cpu,
        memory,
        disk,
        timeout_s,
        max_attempts,
        losses,
        result,
        priority,
    ) = row
    laid: Mapping[str, object] = from_json(spec) if own == "{}" else {**from_json(spec), **from_json(own)}
    return Assignment(
        key, kind, owner, queue, name, laid, Resources(cpu, memory, disk), timeout_s, max_attempts, losses, result,
        PRIORITIES[priority],
    )  # fmt: skip


def lost(tx: Tx, at: datetime) -> list[LostAttempt]:
    """See `AttemptStore.lost`."""
    found: list[LostAttempt] = []
    for worker_id, generation, lease_until in tx.rows(
        _LEASES
    ):  # few; a join over all workers would read all attempts
        held = (LostAttempt(AttemptKey(*row[:3]), *row[3:]) for row in tx.rows(_HELD_BY, (worker_id,)))
        ended = lease_until <= to_micros(at)
        found += (attempt for attempt in held if ended or attempt.generation != generation)
    return sorted(found, key=lambda attempt: attempt.key)
