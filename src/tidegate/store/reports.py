"""How attempts end: facts in, each believed once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, bindparam, func, select

from tidegate.core.attempt import AttemptEnd, JobAfter, Recorded, Usage
from tidegate.core.job import AttemptKey, TaskOrder
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, JobStatus, TaskState
from tidegate.store import rules
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.growth import add_tasks, order_from_json
from tidegate.store.kept import Known, keep, known_of, note_use
from tidegate.store.quarantine import quarantine_tasks
from tidegate.store.releases import Holding, end_holdings, of_attempt, same
from tidegate.store.schema import allocations, attempts, jobs, tasks, wanted, workers
from tidegate.store.shared import (
    EventRow,
    add_events,
    count_in_queues,
    drop_reservations,
    lock_jobs,
    take,
    word,
)
from tidegate.store.sources import grow_sources, register_results, taken_by_others
from tidegate.store.values import (
    exit_from_json,
    exit_to_json,
    to_json,
    to_json_or_none,
    to_micros,
    to_micros_or_none,
    usage_to_row,
)

_COUNTS = tuple(jobs.c[f"tasks_{state}"] for state in TaskState)
_USAGE = (
    "peak_memory_bytes",
    "peak_memory_with_cache_bytes",
    "cpu_seconds",
    "wall_seconds",
    "read_bytes",
    "written_bytes",
    "enforced_by",
)
_STATES = {state.value: state for state in AttemptState}
_LIVE = (word(AttemptState.STARTING), word(AttemptState.RUNNING))


_ENDING = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, attempts.c.state, attempts.c.worker_id,
        attempts.c.generation, tasks.c.attempts, allocations.c.cpu_milli,
        allocations.c.memory_bytes, allocations.c.disk_bytes, jobs.c.queue, jobs.c.cancel_requested_at,
        jobs.c.result_name, jobs.c.owner, jobs.c.task_count, jobs.c.exit, jobs.c.last, jobs.c.last_number,
        allocations.c.head_number, allocations.c.head_attempt, allocations.c.sharing, jobs.c.kind,
        *(jobs.c[name] for name in _USAGE), *_COUNTS,
    )
    .select_from(
        wanted.join(attempts, same(attempts, wanted, "job_id", "number", "attempt"))
        .join(tasks, same(tasks, attempts, "job_id", "number"))
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(allocations, same(allocations, attempts, "job_id", "number", "attempt"))
    )
    .where(attempts.c.state.in_(_LIVE)),
)  # fmt: skip

GENERATION = Statement(select(workers.c.generation).where(workers.c.id == bindparam("worker")), "worker")

LIVE = allocations.join(attempts, same(attempts, allocations, "job_id", "number", "attempt")).join(
    jobs, jobs.c.id == attempts.c.job_id
)
"""Allocations with their attempts and jobs; with `IS_LIVE` those of live attempts."""
IS_LIVE = (allocations.c.released_at.is_(None), attempts.c.state.in_(_LIVE))


_END_ATTEMPT = Statement(
    attempts.update()
    .values({"state": bindparam("to"), "ended_at": bindparam("at"), "exit": bindparam("why")}
            | {name: bindparam(f"used_{name}") for name in _USAGE})
    .where(*of_attempt(attempts), attempts.c.state.in_(_LIVE)),
    "to at " + " ".join(f"used_{name}" for name in _USAGE) + " why job task try",
)  # fmt: skip
_END_TASK = Statement(
    tasks.update()
    .values(
        state=bindparam("to"), losses=tasks.c.losses + bindparam("lost"),
        put_back=tasks.c.put_back + bindparam("returned"), queued_at=bindparam("queued"),
        not_before=bindparam("later"), change=bindparam("new_change"), exit=bindparam("why"), result=bindparam("facts"),
        memory_bytes=func.coalesce(bindparam("more", type_=BigInteger), tasks.c.memory_bytes),
        memory_raises=tasks.c.memory_raises + bindparam("raised"),
    )
    .where(
        tasks.c.job_id == bindparam("job"), tasks.c.number == bindparam("task"),
        tasks.c.state == word(TaskState.RUNNING), tasks.c.attempts == bindparam("try"),
    ),
    "to lost queued later new_change why facts returned more raised job task try",
)  # fmt: skip
_END_JOB = Statement(
    jobs.update()
    .values(
        {"status": bindparam("to"), "finished_at": bindparam("finished"), "exit": bindparam("why")}
        | {"task_count": bindparam("now"), "last_number": bindparam("last_task")}
        | {name: bindparam(f"used_{name}") for name in _USAGE}
        | {f"tasks_{state}": bindparam(f"now_{state}") for state in TaskState}
    )
    .where(jobs.c.id == bindparam("job"), jobs.c.tasks_running == bindparam("was_running")),
    "to finished now " + " ".join(f"now_{state}" for state in TaskState) + " "
    + " ".join(f"used_{name}" for name in _USAGE) + " why last_task job was_running",
)  # fmt: skip


_NOTHING = Known()


@dataclass(slots=True)
class _Job:
    """A job while the ends of a batch are added up."""

    kind: str
    queue: str
    cancelled: bool
    result_name: str | None
    owner: str
    task_count: int
    exit: str | None
    last: str | None
    last_number: int | None
    usage: Usage
    counts: dict[TaskState, int]
    was_running: int
    finished_at: int = 0
    status: JobStatus = JobStatus.RUNNING
    grown: list[_Grown] = field(default_factory=list)

    def add(self, end: AttemptEnd, known: Known) -> None:
        """`known` is about the tasks that the end adds."""
        alone = self.task_count == 1 and self.last is None
        self.counts[TaskState.RUNNING] -= 1
        self.counts[end.next_state] += 1
        if end.new_tasks:
            self._grow(end.key.number, end.new_tasks, to_micros(end.ended_at), known)
        self.usage = rules.add_usage(self.usage, end.usage)
        self.finished_at = max(self.finished_at, to_micros(end.ended_at))
        if self.exit is None and end.next_state in (TaskState.FAILED, TaskState.CANCELLED):
            self.exit = exit_to_json(rules.exit_in_job(end, alone=alone))

    def settle(self) -> None:
        """What the ends add up to: the job ends, or its last task comes."""
        self.status = rules.status_of(self.counts)
        if not self.status.final:
            return
        if self.last is None or self.last_number is not None or self.cancelled:
            self.exit = exit_to_json(rules.exit_of_job(exit_from_json(self.exit), self.counts))
            return
        self.last_number = self.task_count + 1
        self._grow(self.last_number, [order_from_json(self.last)], self.finished_at)
        self.status = rules.status_of(self.counts)

    @property
    def after(self) -> JobAfter:
        """Once it is settled."""
        known = sum(grown.known.count for grown in self.grown)
        return JobAfter(self.kind, self.queue, self.status, known)

    def _grow(self, told_of: int, orders: Collection[TaskOrder], at: int, known: Known = _NOTHING) -> None:
        grown = _Grown(told_of, self.task_count + 1, orders, at, known)
        self.grown.append(grown)
        self.task_count += len(orders)
        self.counts[TaskState.QUEUED] += grown.queued
        self.counts[TaskState.SUCCEEDED] += known.count


@dataclass(frozen=True, slots=True)
class _Grown:
    """Tasks that came to a job; `told_of` is the task to which the event belongs."""

    told_of: int
    first: int
    orders: Collection[TaskOrder]
    at: int
    known: Known

    @property
    def queued(self) -> int:
        return len(self.orders) - self.known.count


@dataclass(frozen=True, slots=True)
class _Live:
    """A live attempt that an end in the batch names."""

    state: AttemptState
    worker_id: str
    generation: int
    newest_attempt: int
    holding: Holding

    def believes(self, end: AttemptEnd, generations: Mapping[str, int]) -> bool:
        """Whether the end is for the newest attempt, from who holds it. A worker that came back under a new
        generation has lost what it held before; that can then only be recorded as lost."""
        return (
            end.key.attempt == self.newest_attempt
            and (end.worker_id, end.generation) == (self.worker_id, self.generation)
            and (end.generation == generations[end.worker_id] or end.state is AttemptState.LOST)
        )


def report(
    tx: Tx, ends: Sequence[AttemptEnd], *, look_for_names: bool = False, heard: bool = True
) -> Recorded:
    """See `AttemptStore.report`.

    Unless `look_for_names`, a source whose name is taken makes the database refuse all of it. `heard` when it is the workers
    who report.
    """
    if not ends:
        return Recorded()
    lock_jobs(tx, (end.key.job_id for end in ends))
    live, jobs_of = _read(tx, {end.key for end in ends})
    recorded = _with_room(_believed(tx, ends, live, jobs_of), jobs_of)
    if look_for_names:
        recorded = _with_names(tx, recorded)
    recorded = grow_sources(tx, recorded)
    if not recorded:
        return Recorded()
    touched: dict[int, _Job] = {}
    for end in recorded:
        touched[end.key.job_id] = job = jobs_of[end.key.job_id]
        job.add(end, known_of(tx, job.owner, end.new_tasks) if end.new_tasks else _NOTHING)
    for job in touched.values():
        job.settle()
    _write_attempts(tx, recorded)
    _write_tasks(tx, recorded, touched)
    holdings = {end.key: live[end.key].holding for end in recorded}
    recorded, going_on = end_holdings(tx, recorded, holdings, heard=heard)
    _write_jobs(tx, touched)
    _write_queues(tx, recorded, touched, going_on)
    register_results(tx, [(end.source, end.key.job_id) for end in recorded if end.source is not None])
    _free_names(tx, touched)
    _write_kept(tx, recorded, touched)
    quarantine_tasks(tx, recorded)
    add_events(tx, list(_events(recorded, touched)))
    return Recorded(recorded, {job_id: job.after for job_id, job in touched.items()})


def _read(tx: Tx, keys: Iterable[AttemptKey]) -> tuple[dict[AttemptKey, _Live], dict[int, _Job]]:
    tx.want(keys)
    live: dict[AttemptKey, _Live] = {}
    jobs_of: dict[int, _Job] = {}
    for row in tx.rows(_ENDING):
        head = None if row[18] is None else AttemptKey(row[0], row[18], row[19])
        holding = Holding(row[4], Resources(*row[7:10]), head, row[20])
        live[AttemptKey(*row[:3])] = _Live(_STATES[row[3]], row[4], row[5], row[6], holding)
        if row[0] not in jobs_of:
            counts = dict(zip(rules.TASK_STATES, row[29:], strict=True))
            jobs_of[row[0]] = _Job(
                row[21],
                row[10],
                row[11] is not None,
                row[12],
                row[13],
                row[14],
                row[15],
                row[16],
                row[17],
                Usage(*row[22:29]),
                counts,
                counts[TaskState.RUNNING],
            )
    return live, jobs_of


def _believed(
    tx: Tx, ends: Sequence[AttemptEnd], live: dict[AttemptKey, _Live], jobs_of: dict[int, _Job]
) -> list[AttemptEnd]:
    """The ends that count, the first of each attempt, as cancelled where a cancel came before."""
    believed: dict[AttemptKey, AttemptEnd] = {}
    generations: dict[str, int] = {}
    for worker_id in {attempt.worker_id for attempt in live.values()}:
        row = tx.one(GENERATION, (worker_id,))
        generations[worker_id] = row[0] if row else 0
    for end in ends:
        attempt = live.get(end.key)
        if attempt is None or end.key in believed or not attempt.believes(end, generations):
            continue
        rules.check_end(end, attempt.state)
        believed[end.key] = rules.cancelled_end(end) if jobs_of[end.key.job_id].cancelled else end
    return list(believed.values())


def _with_names(tx: Tx, ends: list[AttemptEnd]) -> list[AttemptEnd]:
    """The ends with those turned to failures whose source's name belongs to someone else."""
    named = [(end.source, end.key.job_id) for end in ends if end.source is not None]
    taken = taken_by_others(tx, named) if named else set()
    recorded: list[AttemptEnd] = []
    for end in ends:
        if end.source is not None:
            key = end.source.key
            if key in taken:
                end = rules.name_taken_end(end)
            else:
                taken.add(key)
        recorded.append(end)
    return recorded


def _with_room(ends: list[AttemptEnd], jobs_of: Mapping[int, _Job]) -> list[AttemptEnd]:
    """The ends with those turned to failures that add more tasks than their job may have."""
    if not any(end.new_tasks for end in ends):
        return ends
    counts: dict[int, int] = {}
    recorded: list[AttemptEnd] = []
    for end in ends:
        job = jobs_of[end.key.job_id]
        count = counts.get(end.key.job_id, job.task_count)
        end = rules.grown_end(end, count, job.result_name, has_last=job.last is not None)
        counts[end.key.job_id] = count + len(end.new_tasks)
        recorded.append(end)
    return recorded


def _write_attempts(tx: Tx, ends: Sequence[AttemptEnd]) -> None:
    rows: list[Row] = [
        (end.state, to_micros(end.ended_at), *usage_to_row(end.usage), exit_to_json(end.exit), *end.key)
        for end in ends
    ]
    tx.each(_END_ATTEMPT, rows)


def _write_tasks(tx: Tx, ends: Sequence[AttemptEnd], touched: Mapping[int, _Job]) -> None:
    queues = any(end.next_state is TaskState.QUEUED for end in ends)
    change = take(tx, "change") if queues or any(job.grown for job in touched.values()) else 0
    rows: list[Row] = []
    for end in ends:
        queued = end.next_state is TaskState.QUEUED
        why = exit_to_json(end.exit) if end.next_state in (TaskState.FAILED, TaskState.CANCELLED) else None
        result = to_json_or_none(end.result) if end.next_state is TaskState.SUCCEEDED else None
        later = to_micros_or_none(end.not_before) if end.next_state is TaskState.SCHEDULED else None
        rows.append(
            (end.next_state, int(end.counts_as_loss), to_micros(end.ended_at) if queued else None, later,
             change if queued else None, why, result, int(end.put_back), end.next_memory_bytes,
             int(end.next_memory_bytes is not None), *end.key)
        )  # fmt: skip
    tx.each(_END_TASK, rows)
    for job_id, job in touched.items():
        for grown in job.grown:
            add_tasks(tx, job_id, grown.first, grown.orders, grown.at, change, grown.known)


def _write_jobs(tx: Tx, touched: dict[int, _Job]) -> None:
    rows: list[Row] = []
    for job_id, job in touched.items():
        status = job.status
        rows.append(
            (status, job.finished_at if status.final else None, job.task_count, *job.counts.values(),
             *usage_to_row(job.usage), None if status is JobStatus.SUCCEEDED else job.exit, job.last_number, job_id,
             job.was_running)
        )  # fmt: skip
    tx.each(_END_JOB, rows)


def _write_queues(
    tx: Tx, ends: Sequence[AttemptEnd], touched: Mapping[int, _Job], going_on: Collection[AttemptKey]
) -> None:
    changes: dict[str, tuple[int, int]] = {}
    for end in ends:
        queue = touched[end.key.job_id].queue
        waits, runs = changes.get(queue, (0, 0))
        changes[queue] = (waits + (not end.next_state.final), runs - (end.key not in going_on))
    for job in touched.values():
        waits, runs = changes[job.queue]
        changes[job.queue] = (waits + sum(grown.queued for grown in job.grown), runs)
    count_in_queues(tx, changes)


def _free_names(tx: Tx, touched: dict[int, _Job]) -> None:
    ended = ((job.owner, job.result_name, job_id) for job_id, job in touched.items() if job.status.final)
    drop_reservations(tx, ended)


def _write_kept(tx: Tx, ends: Sequence[AttemptEnd], touched: Mapping[int, _Job]) -> None:
    used = [
        (job.owner, digest)
        for job in touched.values()
        for grown in job.grown
        for digest in grown.known.digests
    ]
    if used:
        note_use(tx, used, max(end.ended_at for end in ends))
    keep(tx, ends, {job_id: job.owner for job_id, job in touched.items()})


def _events(ends: Sequence[AttemptEnd], touched: dict[int, _Job]) -> Iterable[EventRow]:
    """An event per end, and one more for each job of several tasks that has ended by them.

    The event that ends a job has no task number, whether the job has one task or many.
    """
    for end in ends:
        kind, message, data = rules.ended_event(end)
        ends_job = end.next_state.final and touched[end.key.job_id].task_count == 1
        task = None if ends_job else end.key.number
        yield end.key.job_id, task, to_micros(end.ended_at), kind, message, _data(end, data)
    for job_id, job in touched.items():
        for grown in job.grown:
            yield job_id, grown.told_of, grown.at, *_grown_event(grown, job)
        if job.task_count > 1 and job.status.final:
            kind, message = rules.job_ended_event(job.status, job.counts)
            yield job_id, None, job.finished_at, kind, message, "{}"


def _grown_event(grown: _Grown, job: _Job) -> tuple[str, str, str]:
    total = grown.first - 1 + len(grown.orders)
    is_last = grown.told_of == job.last_number == grown.first
    kind, message, data = (
        rules.last_event(total) if is_last else rules.grown_event(len(grown.orders), total, grown.known.count)
    )
    return kind, message, to_json(data)


def _data(end: AttemptEnd, data: Mapping[str, Any]) -> str:
    """The data as JSON; the usual case is spelled out, since an encoder takes 3 µs."""
    return f'{{"attempt":{end.key.attempt}}}' if end.exit is None else to_json(data)
