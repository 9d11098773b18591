"""How attempts end: facts in, each believed once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, bindparam, func

from tidegate.core.attempt import AttemptEnd, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.states import JobStatus, TaskState
from tidegate.store import rules
from tidegate.store.ending_jobs import EndingJob, Grown
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.growth import add_tasks
from tidegate.store.kept import NOTHING_KNOWN, keep, known_of, note_use
from tidegate.store.live import LIVE_STATES, EndingAttempt, read_live
from tidegate.store.quarantine import quarantine_tasks
from tidegate.store.releases import end_holdings, of_attempt
from tidegate.store.schema import attempts, jobs, tasks
from tidegate.store.shared import (
    GENERATION,
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
    USAGE_COLUMNS,
    exit_to_json,
    to_json,
    to_json_or_none,
    to_micros,
    to_micros_or_none,
    usage_to_row,
)

_END_ATTEMPT = Statement(
    attempts.update()
    .values({"state": bindparam("to"), "ended_at": bindparam("at"), "exit": bindparam("why")}
            | {name: bindparam(f"used_{name}") for name in USAGE_COLUMNS})
    .where(*of_attempt(attempts), attempts.c.state.in_(LIVE_STATES)),
    "to at " + " ".join(f"used_{name}" for name in USAGE_COLUMNS) + " why job task try",
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
        | {name: bindparam(f"used_{name}") for name in USAGE_COLUMNS}
        | {f"tasks_{state}": bindparam(f"now_{state}") for state in TaskState}
    )
    .where(jobs.c.id == bindparam("job"), jobs.c.tasks_running == bindparam("was_running")),
    "to finished now " + " ".join(f"now_{state}" for state in TaskState) + " "
    + " ".join(f"used_{name}" for name in USAGE_COLUMNS) + " why last_task job was_running",
)  # fmt: skip


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
    live, jobs_of = read_live(tx, {end.key for end in ends})
    recorded = _with_room(_believed(tx, ends, live, jobs_of), jobs_of)
    if look_for_names:
        recorded = _with_names(tx, recorded)
    recorded = grow_sources(tx, recorded)
    if not recorded:
        return Recorded()
    touched: dict[int, EndingJob] = {}
    for end in recorded:
        touched[end.key.job_id] = job = jobs_of[end.key.job_id]
        job.add(end, known_of(tx, job.owner, end.new_tasks) if end.new_tasks else NOTHING_KNOWN)
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


def _believed(
    tx: Tx, ends: Sequence[AttemptEnd], live: dict[AttemptKey, EndingAttempt], jobs_of: dict[int, EndingJob]
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


def _with_room(ends: list[AttemptEnd], jobs_of: Mapping[int, EndingJob]) -> list[AttemptEnd]:
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


def _write_tasks(tx: Tx, ends: Sequence[AttemptEnd], touched: Mapping[int, EndingJob]) -> None:
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


def _write_jobs(tx: Tx, touched: dict[int, EndingJob]) -> None:
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
    tx: Tx, ends: Sequence[AttemptEnd], touched: Mapping[int, EndingJob], going_on: Collection[AttemptKey]
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


def _free_names(tx: Tx, touched: dict[int, EndingJob]) -> None:
    ended = ((job.owner, job.result_name, job_id) for job_id, job in touched.items() if job.status.final)
    drop_reservations(tx, ended)


def _write_kept(tx: Tx, ends: Sequence[AttemptEnd], touched: Mapping[int, EndingJob]) -> None:
    used = [
        (job.owner, digest)
        for job in touched.values()
        for grown in job.grown
        for digest in grown.known.digests
    ]
    if used:
        note_use(tx, used, max(end.ended_at for end in ends))
    keep(tx, ends, {job_id: job.owner for job_id, job in touched.items()})


def _events(ends: Sequence[AttemptEnd], touched: dict[int, EndingJob]) -> Iterable[EventRow]:
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


def _grown_event(grown: Grown, job: EndingJob) -> tuple[str, str, str]:
    total = grown.first - 1 + len(grown.orders)
    is_last = grown.told_of == job.last_number == grown.first
    kind, message, data = (
        rules.last_event(total) if is_last else rules.grown_event(len(grown.orders), total, grown.known.count)
    )
    return kind, message, to_json(data)


def _data(end: AttemptEnd, data: Mapping[str, Any]) -> str:
    """The data as JSON; the usual case is spelled out, since an encoder takes 3 µs."""
    return f'{{"attempt":{end.key.attempt}}}' if end.exit is None else to_json(data)
