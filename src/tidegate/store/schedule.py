"""What the scheduling cycle reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, and_, bindparam, func, null, or_, select

from tidegate.core.job import AttemptKey, TaskKey, WaitingTask
from tidegate.core.plan import Plan, QueueView, Start, WorkerView
from tidegate.core.pressure import Level
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import Changes
from tidegate.store import rules
from tidegate.store.assignments import COLUMNS, assignment
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.growth import own_amounts
from tidegate.store.leaders import must_lead
from tidegate.store.queues import queue_views
from tidegate.store.schema import allocations, attempts, jobs, tasks, wanted, workers
from tidegate.store.shared import (
    EventRow,
    add_events,
    by_index,
    count_in_queues,
    insert_into,
    level_now,
    lock_jobs,
    number,
    take,
    value_of,
    word,
)
from tidegate.store.values import (
    PRIORITIES,
    from_micros,
    from_micros_or_none,
    labels_from_json,
    shape_of,
    takes_batches,
    to_micros,
)

_CHANGED = Statement(
    by_index(tasks, "tasks_change", select(
        tasks.c.job_id, tasks.c.number, tasks.c.state, tasks.c.queued_at, tasks.c.attempts, jobs.c.queue, jobs.c.owner,
        jobs.c.priority, jobs.c.batch, *own_amounts(), jobs.c.labels,
    )
    .select_from(tasks.join(jobs, jobs.c.id == tasks.c.job_id))
    .where(tasks.c.change > bindparam("cursor"))),
    "cursor",
)  # fmt: skip
_WORKERS = Statement(
    select(
        workers.c.id, workers.c.generation, workers.c.labels, workers.c.draining,
        workers.c.allocatable_cpu_milli, workers.c.allocatable_memory_bytes, workers.c.allocatable_disk_bytes,
        workers.c.allocated_cpu_milli, workers.c.allocated_memory_bytes, workers.c.allocated_disk_bytes,
        workers.c.beat_at, workers.c.lease_until, level_now(), workers.c.versions,
    ).where(workers.c.present == number(1)).order_by(workers.c.id)
)  # fmt: skip


def _startable(*more: ColumnElement[Any]) -> Statement:
    return Statement(
        select(tasks.c.job_id, tasks.c.number, tasks.c.attempts, jobs.c.queue, *more)
        .select_from(
            wanted.join(tasks, and_(tasks.c.job_id == wanted.c.job_id, tasks.c.number == wanted.c.number))
            .join(jobs, jobs.c.id == tasks.c.job_id)
        )
        .where(tasks.c.state == word(TaskState.QUEUED), jobs.c.cancel_requested_at.is_(None))
    )  # fmt: skip


_STARTABLE = _startable()
_CLAIMABLE = _startable(*COLUMNS)
_START_TASK = Statement(
    tasks.update()
    .values(state=word(TaskState.RUNNING), attempts=bindparam("attempt"), change=null())
    .where(
        tasks.c.job_id == bindparam("job"),
        tasks.c.number == bindparam("task"),
        tasks.c.state == word(TaskState.QUEUED),
        tasks.c.attempts == bindparam("made"),
    ),
    "attempt job task made",
)
_INSERT_ATTEMPT = Statement(
    attempts.insert().values(
        {
            name: bindparam(name)
            for name in (
                "job_id",
                "number",
                "attempt",
                "state",
                "worker_id",
                "generation",
                "started_at",
                "claimed_at",
            )
        }
    ),
    "job_id number attempt state worker_id generation started_at claimed_at",
)
_INSERT_ALLOCATION = insert_into(
    allocations,
    "job_id number attempt worker_id cpu_milli memory_bytes disk_bytes allocated_at head_number head_attempt sharing",
)
_START_JOB = Statement(
    jobs.update()
    .values(
        status=word("RUNNING"),
        started_at=func.coalesce(jobs.c.started_at, bindparam("at", type_=BigInteger)),
        tasks_queued=jobs.c.tasks_queued - bindparam("started"),
        tasks_running=jobs.c.tasks_running + bindparam("starting"),
    )
    .where(jobs.c.id == bindparam("job"), jobs.c.cancel_requested_at.is_(None)),
    "at started starting job",
)


def _has_room(resource: str) -> ColumnElement[bool]:
    asked: BindParameter[int] = bindparam(f"{resource}_room")
    allocated, allocatable = workers.c[f"allocated_{resource}"], workers.c[f"allocatable_{resource}"]
    return or_(bindparam(f"{resource}_none", type_=BigInteger) == number(0), allocated + asked <= allocatable)


_ALLOCATE = Statement(
    workers.update()
    .values(
        allocated_cpu_milli=workers.c.allocated_cpu_milli + bindparam("cpu"),
        allocated_memory_bytes=workers.c.allocated_memory_bytes + bindparam("memory"),
        allocated_disk_bytes=workers.c.allocated_disk_bytes + bindparam("disk"),
    )
    .where(
        workers.c.id == bindparam("worker"),
        workers.c.generation == bindparam("worker_generation"),
        workers.c.present == number(1),
        workers.c.draining == number(0),
        _has_room("cpu_milli"),
        _has_room("memory_bytes"),
        _has_room("disk_bytes"),
    ),
    "cpu memory disk worker worker_generation cpu_milli_none cpu_milli_room memory_bytes_none memory_bytes_room "
    "disk_bytes_none disk_bytes_room",
)

_DUE = Statement(
    by_index(
        tasks,
        "tasks_scheduled",
        select(tasks.c.job_id, tasks.c.number, jobs.c.queue)
        .select_from(tasks.join(jobs, jobs.c.id == tasks.c.job_id))
        .where(tasks.c.state == word(TaskState.SCHEDULED), tasks.c.not_before <= bindparam("now")),
    ),
    "now",
)
_NEXT_DUE = Statement(
    by_index(
        tasks,
        "tasks_scheduled",
        select(func.min(tasks.c.not_before)).where(
            tasks.c.state == word(TaskState.SCHEDULED),
            tasks.c.not_before.is_not(None),  # lets MariaDB pass over all the tasks that wait for no time
        ),
    )
)
_WAKE_TASK = Statement(
    tasks.update()
    .values(
        state=word(TaskState.QUEUED),
        queued_at=bindparam("now"),
        not_before=null(),
        change=bindparam("new_change"),
    )
    .where(
        tasks.c.job_id == bindparam("job"),
        tasks.c.number == bindparam("task"),
        tasks.c.state == word(TaskState.SCHEDULED),
    ),
    "now new_change job task",
)
_WAKE_JOB = Statement(
    jobs.update()
    .values(
        tasks_scheduled=jobs.c.tasks_scheduled - bindparam("woken"),
        tasks_queued=jobs.c.tasks_queued + bindparam("queued"),
    )
    .where(jobs.c.id == bindparam("job")),
    "woken queued job",
)


def changes(tx: Tx, cursor: int, default_cap: int | None) -> Changes:
    """See `ScheduleStore.changes`."""
    newest = value_of(tx, "change")
    waiting: list[WaitingTask] = []
    gone: list[TaskKey] = []
    for row in tx.rows(_CHANGED, (cursor,)) if newest > cursor else ():
        job_id, number, state, queued_at, made, queue, owner, priority, batch, *shape = row
        if state == "queued":
            waiting.append(
                WaitingTask(
                    TaskKey(job_id, number),
                    queue,
                    owner,
                    PRIORITIES[priority],
                    shape_of(*shape),
                    from_micros(queued_at),
                    made,
                    batch,
                )
            )
        elif cursor:
            gone.append(TaskKey(job_id, number))
    return Changes(newest, waiting, gone, tuple(worker_views(tx)), queue_views(tx, default_cap))


def worker_views(tx: Tx) -> list[WorkerView]:
    """The workers that have not left, in order of id."""
    return [_view(row) for row in tx.rows(_WORKERS)]


def _view(row: Row) -> WorkerView:
    return WorkerView(
        id=row[0],
        generation=row[1],
        allocatable=Resources(*row[4:7]),
        allocated=Resources(*row[7:10]),
        labels=labels_from_json(row[2]),
        accepting=not row[3],
        beat_at=from_micros(row[10]),
        lease_s=(row[11] - row[10]) / 1e6,
        level=Level(row[12]),
        takes_batches=takes_batches(row[13]),
    )


def commit(
    tx: Tx, plan: Plan, at: datetime, epoch: int, default_cap: int | None, *, claim: bool = False
) -> list[Start]:
    """See `ScheduleStore.commit`. Reads what the starts depend on, judges them in order, then writes conditionally."""
    if not plan.starts:
        return []
    must_lead(tx, epoch)
    lock_jobs(tx, (start.key.job_id for start in plan.starts))
    tx.want({(start.key.job_id, start.key.number, 0) for start in plan.starts})
    waiting = {(row[0], row[1]): row[2:] for row in tx.rows(_CLAIMABLE if claim else _STARTABLE)}
    room = _Room(worker_views(tx), queue_views(tx, default_cap))
    starts = _judged(plan, waiting, room)
    if not starts:
        return []
    _write_starts(tx, starts, to_micros(at), room, AttemptState.RUNNING if claim else AttemptState.STARTING)
    if not claim:
        return starts
    amounts = {start.key: start.resources for start in starts}
    return [_claimed(start, amounts, waiting[start.task][2:]) for start in starts]


def _judged(plan: Plan, waiting: Mapping[tuple[int, int], Row], room: _Room) -> list[Start]:
    """The starts that are as planned and fit, each task once, should the plan name it twice; of a batch only with its head."""
    starts: dict[TaskKey, Start] = {}
    for start in plan.starts:
        task = start.task
        made, queue = waiting.get(task, (None, None))[:2]
        as_planned = (made, queue) == (start.key.attempt - 1, start.queue) and task not in starts
        if as_planned and (start.head is None or _goes_with(start, starts)) and room.take(start):
            starts[task] = start
    return list(starts.values())


def _goes_with(start: Start, starts: Mapping[TaskKey, Start]) -> bool:
    """Whether the head of its batch starts, where it is to start."""
    assert start.head is not None
    head = starts.get(start.head.task)
    if head is None or head.head is not None or head.key != start.head or head.key.job_id != start.key.job_id:
        return False
    place = (start.worker_id, start.generation, start.resources)
    return place == (head.worker_id, head.generation, Resources())


def _claimed(start: Start, amounts: Mapping[AttemptKey, Resources], row: Row) -> Start:
    resources = amounts[start.head or start.key]
    return start._replace(assignment=assignment(start.key, resources, row, start.head))


@dataclass(slots=True)
class _Taken:
    view: WorkerView
    amount: Resources = Resources()


class _Room:
    """What workers and queues can still take, while the starts of a plan are judged in order."""

    def __init__(self, views: Iterable[WorkerView], queue_views: Mapping[str, QueueView]) -> None:
        self._workers = {view.id: _Taken(view) for view in views}
        self._queues = queue_views
        self.started: dict[str, int] = {}
        self.places: dict[str, int] = {}
        """How many of a queue's cap they take: of a batch one."""

    def take(self, start: Start) -> bool:
        """Whether the start fits; if so it is counted."""
        queue, taken = self._queues.get(start.queue), self._workers.get(start.worker_id)
        if queue is None or queue.paused or taken is None or taken.view.generation != start.generation:
            return False
        if not taken.view.accepting:
            return False
        places = self.places.get(start.queue, 0)
        full = queue.max_concurrent is not None and queue.running + places >= queue.max_concurrent
        if full and start.head is None:
            return False
        if not start.resources.fits_in(taken.view.available - taken.amount):
            return False
        taken.amount += start.resources
        self.started[start.queue] = self.started.get(start.queue, 0) + 1
        self.places[start.queue] = places + (start.head is None)
        return True

    def allocated(self) -> list[tuple[WorkerView, Resources]]:
        nothing = Resources()
        return [(taken.view, taken.amount) for taken in self._workers.values() if taken.amount != nothing]


def _write_starts(tx: Tx, starts: Sequence[Start], at: int, room: _Room, state: AttemptState) -> None:
    rows: list[Row] = [(key.attempt, key.job_id, key.number, key.attempt - 1) for key, *_ in starts]
    tx.each(_START_TASK, rows)
    claimed_at = at if state is AttemptState.RUNNING else None
    tx.each(_INSERT_ATTEMPT, [(*s.key, state, s.worker_id, s.generation, at, claimed_at) for s in starts])
    tx.each(_INSERT_ALLOCATION, _allocation_rows(starts, at))
    per_job: dict[int, int] = {}
    for start in starts:
        per_job[start.key.job_id] = per_job.get(start.key.job_id, 0) + 1
    tx.each(_START_JOB, [(at, count, count, job_id) for job_id, count in per_job.items()])
    tx.each(_ALLOCATE, [_allocate_row(view, amount) for view, amount in room.allocated()])
    count_in_queues(tx, {queue: (-count, room.places[queue]) for queue, count in room.started.items()})
    add_events(tx, _start_events(starts, at))


def _allocation_rows(starts: Sequence[Start], at: int) -> list[Row]:
    sharing = Counter(start.head for start in starts if start.head is not None)
    rows: list[Row] = []
    for start in starts:
        asked, head = start.resources, start.head
        of_head = (None, None, sharing[start.key] + 1) if head is None else (head.number, head.attempt, 1)
        rows.append(
            (*start.key, start.worker_id, asked.cpu_milli, asked.memory_bytes, asked.disk_bytes, at, *of_head)
        )
    return rows


def _allocate_row(view: WorkerView, amount: Resources) -> Row:
    cpu, memory, disk = amount.cpu_milli, amount.memory_bytes, amount.disk_bytes
    return (cpu, memory, disk, view.id, view.generation, cpu, cpu, memory, memory, disk, disk)


def _start_events(starts: Sequence[Start], at: int) -> list[EventRow]:
    events: list[EventRow] = []
    for start in starts:
        message, data = rules.started_event(start.key.attempt, start.worker_id, start.resources, start.head)
        events.append((start.key.job_id, start.key.number, at, "started", message, data))
    return events


def wake_scheduled(tx: Tx, now: datetime, epoch: int) -> datetime | None:
    """See `ScheduleStore.wake_scheduled`."""
    must_lead(tx, epoch)
    due = tx.rows(_DUE, (to_micros(now),))
    if due and tx.locks:
        lock_jobs(tx, (row[0] for row in due))
        locked = {row[0] for row in due}
        due = [row for row in tx.rows(_DUE, (to_micros(now),)) if row[0] in locked]
    if due:
        change = take(tx, "change")
        rows: list[Row] = [(to_micros(now), change, job_id, number) for job_id, number, _ in due]
        tx.each(_WAKE_TASK, rows)
        per_job: dict[int, int] = {}
        for job_id, _, _ in due:
            per_job[job_id] = per_job.get(job_id, 0) + 1
        tx.each(_WAKE_JOB, [(count, count, job_id) for job_id, count in per_job.items()])
    row = tx.one(_NEXT_DUE)
    return from_micros_or_none(row[0]) if row else None
