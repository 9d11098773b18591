"""Jobs coming in: submissions and cancels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, null, select

from tidegate.core.identity import Action, Caller
from tidegate.core.job import AttemptKey, NewJob
from tidegate.core.names import source_key
from tidegate.core.states import JobStatus, TaskState
from tidegate.errors import NotFound, TidegateError
from tidegate.ports import Accepted, Cancelled
from tidegate.store import rules
from tidegate.store.audit import Submission, add_submissions, record
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.growth import INSERT_TASK, Times, ended_row, order_to_json, task_row
from tidegate.store.kept import note_use, results
from tidegate.store.live import LIVE_STATES
from tidegate.store.schema import attempts, jobs, sources, tasks
from tidegate.store.shared import (
    EventRow,
    add_events,
    chunks,
    count_in_queues,
    count_new_in_queues,
    drop_reservations,
    insert_into,
    lock_jobs,
    number,
    storable,
    take,
    word,
)
from tidegate.store.values import (
    exit_from_json,
    exit_to_json,
    labels_to_json,
    to_json,
    to_micros,
    to_micros_or_none,
)

_MOST_PARAMETERS = 10_000  # SQLite takes 32,766 in a statement, PostgreSQL 65,535

_FEW = 8

_Keys = dict[tuple[str, str], tuple[int, str | None]]

_KEY = Statement(
    select(jobs.c.id, jobs.c.request_digest).where(
        jobs.c.owner == bindparam("owner"), jobs.c.idempotency_key == bindparam("key")
    ),
    "owner key",
)
_INSERT_JOB = insert_into(
    jobs,
    "id kind name owner queue priority status cpu_milli memory_bytes disk_bytes labels timeout_s max_attempts created_at "
    "started_at finished_at change result_name idempotency_key request_digest task_count tasks_scheduled tasks_queued "
    "tasks_succeeded spec last max_memory_bytes batch",
)
_RESERVE = Statement(
    sources.insert().values(
        {name: bindparam(name) for name in ("name_key", "name", "reserved_by", "owner", "created_at")}
        | {"format": word(""), "path": word(""), "file_count": number(0), "managed": number(0)}
        | {"columns": word("[]"), "lineage": word("[]"), "options": word("{}")}
    ),
    "name_key name reserved_by owner created_at",
)

_CANCEL_JOB = Statement(
    jobs.update()
    .ordered_values(
        (jobs.c.status, bindparam("new_status")),
        (jobs.c.finished_at, bindparam("finished")),
        (jobs.c.cancel_requested_at, bindparam("requested_at")),
        (jobs.c.exit, bindparam("new_exit")),
        # MySQL assigns in this order, and reads what it has assigned.
        (jobs.c.tasks_cancelled, jobs.c.tasks_cancelled + jobs.c.tasks_scheduled + jobs.c.tasks_queued),
        (jobs.c.tasks_scheduled, number(0)),
        (jobs.c.tasks_queued, number(0)),
    )
    .where(jobs.c.id == bindparam("job_id"), jobs.c.status == bindparam("old_status")),
    "new_status finished requested_at new_exit job_id old_status",
)
_CANCEL_TASKS = Statement(
    tasks.update()
    .values(
        state=word(TaskState.CANCELLED),
        not_before=null(),
        change=bindparam("new_change"),
        exit=bindparam("new_exit"),
    )
    .where(
        tasks.c.job_id == bindparam("job"),
        tasks.c.state.in_([word(TaskState.SCHEDULED), word(TaskState.QUEUED)]),
    ),
    "new_change new_exit job",
)
_COUNTS = tuple(jobs.c[f"tasks_{state}"] for state in rules.TASK_STATES)
_TO_CANCEL = Statement(
    select(
        jobs.c.status,
        jobs.c.queue,
        jobs.c.cancel_requested_at,
        jobs.c.task_count,
        jobs.c.exit,
        jobs.c.result_name,
        jobs.c.owner,
        jobs.c.kind,
        *_COUNTS,
    ).where(jobs.c.id == bindparam("job_id")),
    "job_id",
)
_LIVE_OF_JOB = Statement(
    select(attempts.c.number, attempts.c.attempt)
    .where(attempts.c.job_id == bindparam("job"), attempts.c.state.in_(LIVE_STATES))
    .order_by(attempts.c.number),
    "job",
)


def add_jobs(tx: Tx, new_jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
    """See `JobStore.add_jobs`. What one job alone makes impossible raises and stores nothing: the caller then splits."""
    answers, repeats = _judge(tx, new_jobs)
    fresh = [(index, job) for index, job in enumerate(new_jobs) if answers[index] is None]
    if fresh:
        _insert(tx, fresh, answers)
    for index, first in repeats.items():
        earlier = answers[first]
        answers[index] = Accepted(earlier.job_id, created=False) if isinstance(earlier, Accepted) else earlier
    return [answer for answer in answers if answer is not None]


def _judge(tx: Tx, new_jobs: Sequence[NewJob]) -> tuple[list[Accepted | Exception | None], dict[int, int]]:
    """Answers for the jobs that are refused or were here before; which repeat which of the same batch."""
    answers: list[Accepted | Exception | None] = [None] * len(new_jobs)
    repeats: dict[int, int] = {}
    stored = _stored_keys(tx, new_jobs)
    names = _taken_names(tx, [source_key(job.owner, job.result_name) for job in new_jobs if job.result_name])
    first_of: dict[tuple[str, str], int] = {}
    for index, job in enumerate(new_jobs):
        try:
            if job.idempotency_key is not None:
                key = (job.owner, job.idempotency_key)
                if key in stored:
                    job_id, digest = stored[key]
                    _check_digest(job, digest, job_id)
                    answers[index] = Accepted(job_id, created=False)
                    continue
                if key in first_of:
                    _check_digest(job, new_jobs[first_of[key]].request_digest, None)
                    repeats[index] = first_of[key]
                    answers[index] = _PENDING
                    continue
            rules.check_new_job(job)
            _reserve(names, job)
            if job.idempotency_key is not None:
                first_of[(job.owner, job.idempotency_key)] = index
        except TidegateError as error:
            answers[index] = error
    return answers, repeats


_PENDING = Accepted(0, created=False)


def _check_digest(job: NewJob, digest: str | None, job_id: int | None) -> None:
    if digest != job.request_digest:
        raise rules.key_conflict(job.idempotency_key or "", job_id)


def _reserve(names: dict[str, int | None], job: NewJob) -> None:
    if not job.result_name:
        return
    key = source_key(job.owner, job.result_name)
    if key in names:
        raise rules.name_conflict(job.result_name, names[key])
    names[key] = 0


def _stored_keys(tx: Tx, new_jobs: Sequence[NewJob]) -> _Keys:
    """Job and digest of the idempotency keys that were used before."""
    keys = {(job.owner, job.idempotency_key) for job in new_jobs if job.idempotency_key is not None}
    if len(keys) <= _FEW:  # quicker one by one than through SQLAlchemy
        rows = [(key, tx.one(_KEY, key)) for key in keys]
        return {key: (row[0], row[1]) for key, row in rows if row is not None}
    found: _Keys = {}
    for owner in {owner for owner, _ in keys}:
        for chunk in chunks((key for other, key in keys if other == owner), _MOST_PARAMETERS):
            query = select(jobs.c.idempotency_key, jobs.c.id, jobs.c.request_digest).where(
                jobs.c.owner == owner, jobs.c.idempotency_key.in_(chunk)
            )
            rows_of = tx.connection.execute(query)
            found.update({(owner, str(key)): (job_id, digest) for key, job_id, digest in rows_of})
    return found


def _taken_names(tx: Tx, keys: Sequence[str]) -> dict[str, int | None]:
    taken: dict[str, int | None] = {}
    for chunk in chunks(set(keys), _MOST_PARAMETERS):
        query = select(sources.c.name_key, sources.c.reserved_by).where(sources.c.name_key.in_(chunk))
        taken.update((row.name_key, row.reserved_by) for row in tx.connection.execute(query))
    return taken


def _insert(tx: Tx, fresh: list[tuple[int, NewJob]], answers: list[Accepted | Exception | None]) -> None:
    known = _known(tx, fresh)
    first, change = take(tx, "job", len(fresh)), take(tx, "change")
    job_rows: list[Row] = []
    task_rows: list[Row] = []
    reserved: list[Row] = []
    events: list[EventRow] = []
    waiting: Counter[str] = Counter()
    for job_id, (index, job) in enumerate(fresh, first):
        created_at = to_micros(job.created_at)
        result = known.get(_kept_as(job))
        job_rows.append(_job_row(job_id, job, created_at, change, ended=result is not None))
        message = rules.accepted_message(job.queue, job.priority, len(job.tasks))
        events.append((job_id, None, created_at, "accepted", message, "{}"))
        if result is not None:
            task_rows.append(ended_row(job_id, 1, job.tasks[0], result))
            events.append((job_id, None, created_at, *rules.known_event()))
        else:
            task_rows.extend(_task_rows(job_id, job, created_at, change))
        waiting[job.queue] += len(job.tasks) if result is None else 0
        if job.result_name:
            key = source_key(job.owner, job.result_name)
            reserved.append((key, job.result_name, job_id, job.owner, created_at))
        answers[index] = Accepted(job_id, ended=result is not None)
    tx.each(_INSERT_JOB, job_rows)
    tx.each(INSERT_TASK, task_rows)
    count_new_in_queues(tx, waiting)
    tx.each(_RESERVE, sorted(reserved))
    note_use(tx, known, max(job.created_at for _, job in fresh))
    add_submissions(tx, _submissions(fresh, answers))
    add_events(tx, events)


def _known(tx: Tx, fresh: list[tuple[int, NewJob]]) -> dict[tuple[str, str], str]:
    """The results that are kept for these jobs, by owner and digest."""
    wanted: dict[str, list[str]] = {}
    for _, job in fresh:
        owner, digest = _kept_as(job)
        if digest:
            wanted.setdefault(owner, []).append(digest)
    return {
        (owner, digest): result
        for owner, digests in wanted.items()
        for digest, result in results(tx, owner, digests).items()
    }


def _kept_as(job: NewJob) -> tuple[str, str]:
    """Owner and digest, which is empty where a result that is known would not end the job."""
    return job.owner, "" if _scheduled(job) else rules.kept_as(job) or ""


def _submissions(
    fresh: list[tuple[int, NewJob]], answers: list[Accepted | Exception | None]
) -> list[Submission]:
    """A row of the audit trail for each request, not for each of its jobs: those of one stand together."""
    made: list[Submission] = []
    by: Caller | None = None
    for index, job in fresh:
        answer = answers[index]
        assert isinstance(answer, Accepted)
        if job.by is None:
            by = None
        elif job.by is by:
            made[-1].add(answer.job_id, job.kind)
        else:
            by = job.by
            made.append(Submission(by, answer.job_id, job.kind))
    return made


def _scheduled(job: NewJob) -> bool:
    return job.not_before is not None and job.not_before > job.created_at


def _job_row(job_id: int, job: NewJob, created_at: int, change: int, *, ended: bool) -> Row:
    resources, count = job.shape.resources, len(job.tasks)
    scheduled, queued, succeeded = (
        (count, 0, 0) if _scheduled(job) else (0, 0, count) if ended else (0, count, 0)
    )
    at = created_at if ended else None
    return (
        job_id, job.kind, job.name, job.owner, job.queue, int(job.priority), "SUCCEEDED" if ended else "QUEUED",
        resources.cpu_milli, resources.memory_bytes, resources.disk_bytes, labels_to_json(job.shape.labels),
        job.timeout_s, job.max_attempts, created_at, at, at, change,
        rules.default_result_name(job_id) if job.result_name == "" else job.result_name,
        job.idempotency_key, job.request_digest, count, scheduled, queued, succeeded,
        to_json(job.spec), order_to_json(job.last), job.max_memory_bytes, job.batch,
    )  # fmt: skip


def _task_rows(job_id: int, job: NewJob, created_at: int, change: int) -> list[Row]:
    times: Times
    if _scheduled(job):
        state, times = "scheduled", (None, to_micros_or_none(job.not_before), None)
    else:
        state, times = "queued", (created_at, None, change)
    return [task_row(job_id, number, task, state, times) for number, task in enumerate(job.tasks, 1)]


def request_cancel(tx: Tx, job_id: int, at: datetime, by: Caller | None = None) -> Cancelled:
    """See `JobStore.request_cancel`."""
    if storable(job_id):
        lock_jobs(tx, [job_id])
    row = tx.one(_TO_CANCEL, (job_id,)) if storable(job_id) else None
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    status, queue, requested_at, task_count, exit_text, result_name, owner, kind = row[:8]
    counts = dict(zip(rules.TASK_STATES, row[8:], strict=True))
    waited = counts[TaskState.SCHEDULED] + counts[TaskState.QUEUED]
    if JobStatus(status).final:
        return Cancelled(JobStatus(status), 0, (), kind, queue)
    live = tuple(AttemptKey(job_id, *row) for row in tx.rows(_LIVE_OF_JOB, (job_id,)))
    if requested_at is not None:
        return Cancelled(JobStatus(status), 0, live, kind, queue)
    counts.update({TaskState.SCHEDULED: 0, TaskState.QUEUED: 0})
    counts[TaskState.CANCELLED] += waited
    new_status = rules.status_of(counts)
    if new_status.final:
        exit_text = exit_to_json(rules.exit_of_job(exit_from_json(exit_text), counts))
    _record_cancel(tx, job_id, to_micros(at), (status, new_status, exit_text), waited, queue)
    if new_status.final:
        drop_reservations(tx, [(owner, result_name, job_id)])
    add_events(tx, _cancel_events(job_id, to_micros(at), new_status, task_count, waited, len(live), counts))
    record(tx, by, Action.CANCEL, f"job {job_id}", owner=owner)
    return Cancelled(new_status, waited, live, kind, queue)


def _record_cancel(
    tx: Tx, job_id: int, at: int, outcome: tuple[str, JobStatus, str | None], waited: int, queue: str
) -> None:
    old_status, new_status, exit_text = outcome
    cancelled = exit_to_json(rules.CANCELLED_WAITING)
    final = new_status.final
    new_exit = (exit_text or cancelled) if final else exit_text
    expect(tx.run(_CANCEL_JOB, (new_status, at if final else None, at, new_exit, job_id, old_status)), 1)
    if waited:
        expect(tx.run(_CANCEL_TASKS, (take(tx, "change"), cancelled, job_id)), waited)
        count_in_queues(tx, {queue: (-waited, 0)})


def _cancel_events(
    job_id: int,
    at: int,
    status: JobStatus,
    task_count: int,
    waited: int,
    live: int,
    counts: dict[TaskState, int],
) -> list[EventRow]:
    if not status.final:
        message = f"Cancel requested: {waited} waiting and {live} running tasks end now."
        return [
            (job_id, None, at, "cancel_requested", message, to_json({"waiting": waited, "running": live}))
        ]
    if task_count == 1:
        return [(job_id, None, at, "cancelled", rules.CANCELLED_WAITING.message, "{}")]
    kind, message = rules.job_ended_event(status, counts)
    return [(job_id, None, at, kind, message, "{}")]
