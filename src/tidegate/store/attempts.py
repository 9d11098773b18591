"""Workers: how they come, stay, claim attempts and are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, bindparam, case, or_, select

from tidegate.core.attempt import AttemptEnd, Claimed
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import BeatAnswer, WorkerInfo
from tidegate.store import rules
from tidegate.store.assignments import COLUMNS, assignment
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.live import IS_LIVE, LIVE
from tidegate.store.readings import add_sample
from tidegate.store.reports import report
from tidegate.store.schedule import worker_views
from tidegate.store.schema import allocations, attempts, jobs, tasks, wanted, workers
from tidegate.store.shared import GENERATION, HEARD_ORDER, heard, insert_into, lock_jobs, number, word
from tidegate.store.values import labels_to_json, to_json, to_micros, to_micros_or_none

_OFFER = (
    "lease_until beat_at capacity_cpu_milli capacity_memory_bytes capacity_disk_bytes allocatable_cpu_milli "
    "allocatable_memory_bytes allocatable_disk_bytes"
)
_ABOUT = "hostname labels versions rungs stats level level_since level_at readings"
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
        | {"draining": case((workers.c.draining == number(2), number(2)), else_=number(0))}
    )
    .where(workers.c.id == bindparam("worker")),
    f"{_set(_OFFER.replace('lease_until', 'lease_until registered_at'))} {_NEW_AMOUNTS} {_set(_ABOUT)} worker",
)
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

_HELD = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, attempts.c.state, jobs.c.cancel_requested_at
    )
    .select_from(LIVE)
    .where(
        *IS_LIVE, allocations.c.worker_id == bindparam("worker"), attempts.c.generation == bindparam("now_generation")
    )
    .order_by(attempts.c.job_id, attempts.c.number, attempts.c.attempt),
    "worker now_generation",
)  # fmt: skip
_UNCLAIMED = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, jobs.c.queue, attempts.c.worker_id,
        attempts.c.generation, allocations.c.cpu_milli, allocations.c.memory_bytes, allocations.c.disk_bytes,
        allocations.c.head_number, allocations.c.head_attempt,
    )
    .select_from(LIVE)
    .where(
        allocations.c.released_at.is_(None),
        allocations.c.worker_id == bindparam("worker"),
        attempts.c.state == word(AttemptState.STARTING),
        attempts.c.generation == bindparam("now_generation"),
        attempts.c.started_at < bindparam("before"),
    ),
    "worker now_generation before",
)  # fmt: skip
_HEARD = Statement(
    workers.update()
    .values(heard())
    .where(workers.c.id == bindparam("worker"), workers.c.generation == bindparam("now_generation")),
    f"{HEARD_ORDER} worker now_generation",
)
_CLAIMABLE = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, jobs.c.cancel_requested_at,
        allocations.c.cpu_milli, allocations.c.memory_bytes, allocations.c.disk_bytes,
        allocations.c.head_number, allocations.c.head_attempt, allocations.c.sharing, *COLUMNS,
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
        to_json(dict(worker.stats)),
        int(worker.pressure.level),
        to_micros_or_none(worker.pressure.since),
        at,
        to_json(worker.pressure.readings.known()),
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
    row = tx.one(GENERATION, (worker.id,))
    assert row is not None
    return int(row[0])


def beat(
    tx: Tx, worker: WorkerInfo, generation: int, at: datetime, lease_s: float, running: Collection[AttemptKey]
) -> BeatAnswer | None:
    """See `AttemptStore.beat`."""
    offer, amounts, about = _offer_row(worker, *_lease(at, lease_s))
    if not tx.run(_BEAT, (*offer, *amounts, *about, worker.id, generation)):
        return None
    if worker.pressure.minute is not None:
        add_sample(tx, f"worker:{worker.id}", worker.pressure.minute)
    held = {AttemptKey(*row[:3]): row[3:] for row in tx.rows(_HELD, (worker.id, generation))}
    runs = set(running)
    return BeatAnswer(
        cancel=[key for key, (_, cancelled_at) in held.items() if cancelled_at is not None],
        stale=sorted(runs - held.keys()),
        missing=[
            key for key, (state, _) in held.items() if state == AttemptState.RUNNING and key not in runs
        ],
    )


def unregister(tx: Tx, worker_id: str, generation: int, at: datetime) -> bool:
    """See `AttemptStore.unregister`. What it still holds is lost from now on."""
    return tx.run(_LEAVE, (to_micros(at), worker_id, generation)) == 1


def claim(tx: Tx, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
    """See `AttemptStore.claim`."""
    if not keys or tx.one(GENERATION, (worker_id,)) != (generation,):
        return Claimed()
    lock_jobs(tx, (key.job_id for key in keys))
    tx.want(set(keys))
    found = {AttemptKey(*row[:3]): row[3:] for row in tx.rows(_CLAIMABLE, (worker_id, generation))}
    heads = {key: _head(key, row[4:6]) for key, row in found.items()}
    there = Counter(head or key for key, head in heads.items())
    mine = [
        (key, found[key])
        for key in dict.fromkeys(keys)
        if key in found and _is_whole(heads[key] or key, found, there)
    ]
    cancelled = [key for key, row in mine if row[0] is not None]
    claimed = [(key, row) for key, row in mine if row[0] is None]
    now = to_micros(at)
    rows: list[Row] = [(now, *key) for key, _ in claimed]
    tx.each(_CLAIM, rows)
    tx.each(_HEARD, [(now, now, now, now, worker_id, generation)])
    ended = report(tx, list(_unstarted(cancelled, worker_id, generation, at)))
    amounts = {key: Resources(*row[1:4]) for key, row in claimed}
    return Claimed(
        (assignment(key, amounts[heads[key] or key], row[7:], heads[key]) for key, row in claimed), ended
    )


def _head(key: AttemptKey, named: Sequence[int | None]) -> AttemptKey | None:
    number, attempt = named
    return None if number is None or attempt is None else AttemptKey(key.job_id, number, attempt)


def _is_whole(head: AttemptKey, found: Mapping[AttemptKey, Row], there: Mapping[AttemptKey, int]) -> bool:
    """Whether all that shares its allocation is there: a batch is claimed whole or not at all."""
    return head in found and found[head][6] == there[head]


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


def unclaimed(tx: Tx, before: datetime, worker_id: str | None) -> list[Start]:
    """See `AttemptStore.unclaimed`."""
    found: list[Start] = []
    for view in worker_views(tx):  # few; a join over all workers would read all attempts
        if worker_id not in (None, view.id):
            continue
        rows = tx.rows(_UNCLAIMED, (view.id, view.generation, to_micros(before)))
        found += (_start(row) for row in rows)
    return sorted(found, key=lambda start: start.key)


def _start(row: Row) -> Start:
    key = AttemptKey(*row[:3])
    return Start(key, row[3], row[4], row[5], Resources(*row[6:9]), head=_head(key, row[9:11]))
