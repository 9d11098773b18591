"""`JobStore` in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby, islice

from tidegate.core.identity import Action, Caller
from tidegate.core.job import NewJob
from tidegate.core.names import source_key
from tidegate.core.states import JobStatus, TaskState
from tidegate.errors import TidegateError
from tidegate.ports import Accepted, Cancelled, Event, JobFilter, JobRecord, TaskRecord
from tidegate.store import rules
from tidegate.testing.memory_kept import MemoryResults
from tidegate.testing.memory_rows import MemoryJob, new_memory_job
from tidegate.testing.memory_state import MemoryQueue, locked


class MemoryJobs(MemoryResults):
    """`JobStore` in memory."""

    @locked
    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        answers: list[Accepted | Exception] = []
        change = self._next_change() if jobs else 0
        for job in jobs:
            try:
                answers.append(self._add(job, change))
            except TidegateError as error:
                answers.append(error)
        fresh = [
            (answer.job_id, job)
            for answer, job in zip(answers, jobs, strict=True)
            if isinstance(answer, Accepted) and answer.created
        ]
        for _, group in groupby(fresh, key=lambda each: id(each[1].by)):
            stored = list(group)
            detail = rules.submission_detail(len(stored), [job.kind for _, job in stored])
            named = rules.submitted(stored[0][0], stored[-1][0])
            self._note(stored[0][1].by, Action.SUBMIT, named, **detail)
        return answers

    def _add(self, order: NewJob, change: int) -> Accepted:
        key = (order.owner, order.idempotency_key or "")
        if order.idempotency_key is not None and key in self._keys:
            earlier = self._jobs[self._keys[key]]
            if earlier.order.request_digest != order.request_digest:
                raise rules.key_conflict(order.idempotency_key, earlier.id)
            return Accepted(earlier.id, created=False)
        rules.check_new_job(order)
        if order.result_name:
            self._check_name(order.owner, order.result_name)
        job = new_memory_job(self._last_job + 1, order, change)
        self._last_job = job.id
        self._jobs[job.id] = job
        self._queues.setdefault(order.queue, MemoryQueue())
        if order.result_name:
            self._reserved[source_key(order.owner, order.result_name)] = job.id
        if order.idempotency_key is not None:
            self._keys[key] = job.id
        message = rules.accepted_message(order.queue, order.priority, len(order.tasks))
        self._tell(job.id, None, order.created_at, "accepted", message)
        return Accepted(job.id, ended=self._answer_at_once(job))

    def _answer_at_once(self, job: MemoryJob) -> bool:
        """End a job that is one task whose result is known; whether it was."""
        order, task = job.order, job.tasks[0]
        if task.state is not TaskState.QUEUED:
            return False
        kept = self._use_kept(order.owner, [rules.kept_as(order)], order.created_at)
        for task.result in kept.values():
            task.state, task.queued_at, task.change = TaskState.SUCCEEDED, None, None
            job.started_at = job.finished_at = order.created_at
            self._tell(job.id, None, order.created_at, *rules.known_event()[:2])
        return bool(kept)

    @locked
    def request_cancel(self, job_id: int, at: datetime, by: Caller | None = None) -> Cancelled:
        job = self._job(job_id)
        if job.status().final:
            return Cancelled(job.status(), 0, (), job.order.kind, job.order.queue)
        live = tuple(a.record.key for task in job.tasks if (a := task.live()) is not None)
        if job.cancel_requested_at is not None:
            return Cancelled(job.status(), 0, live, job.order.kind, job.order.queue)
        job.cancel_requested_at = at
        waited = [task for task in job.tasks if task.state in (TaskState.SCHEDULED, TaskState.QUEUED)]
        change = self._next_change() if waited else 0
        for task in waited:
            task.state, task.not_before, task.change = TaskState.CANCELLED, None, change
            task.exit = rules.CANCELLED_WAITING
        if job.status().final:
            job.exit = job.exit or rules.CANCELLED_WAITING
            job.finish(at)
            self._free(job)
        self._tell_cancel(job, at, len(waited), len(live))
        self._note(by, Action.CANCEL, f"job {job_id}", owner=job.order.owner)
        return Cancelled(job.status(), len(waited), live, job.order.kind, job.order.queue)

    def _tell_cancel(self, job: MemoryJob, at: datetime, waited: int, live: int) -> None:
        if not job.status().final:
            message = f"Cancel requested: {waited} waiting and {live} running tasks end now."
            self._tell(job.id, None, at, "cancel_requested", message, {"waiting": waited, "running": live})
        elif len(job.tasks) == 1:
            self._tell(job.id, None, at, "cancelled", rules.CANCELLED_WAITING.message)
        else:
            self._tell(job.id, None, at, *rules.job_ended_event(job.status(), job.counts()))

    @locked
    def job(self, job_id: int) -> JobRecord:
        return self._job(job_id).record()

    @locked
    def owner_of(self, job_id: int) -> str:
        return self._job(job_id).order.owner

    @locked
    def owners_of(self, job_ids: Iterable[int]) -> dict[int, str]:
        return {job_id: self._jobs[job_id].order.owner for job_id in job_ids if job_id in self._jobs}

    @locked
    def jobs(self, filter: JobFilter) -> list[JobRecord]:
        wanted = JobStatus.QUEUED if filter.status is JobStatus.ACCEPTED else filter.status
        found: list[JobRecord] = []
        for job in sorted(self._jobs.values(), key=lambda job: job.id, reverse=not filter.oldest_first):
            fits = (
                (filter.before_id is None or job.id < filter.before_id)
                and (filter.after_id is None or job.id > filter.after_id)
                and (filter.kind in (None, job.order.kind))
                and (filter.queue in (None, job.order.queue))
                and (filter.owner in (None, job.order.owner))
                and (filter.not_queue != job.order.queue)
                and (wanted in (None, job.status()))
            )
            if fits:
                found.append(job.record())
        return found[: filter.limit]

    @locked
    def tasks(
        self, job_id: int, *, after: int = 0, limit: int = 100, state: TaskState | None = None
    ) -> list[TaskRecord]:
        job = self._job(job_id)
        found = (task for task in job.tasks[max(after, 0) :] if state in (None, task.state))
        return [job.task_record(task) for task in islice(found, limit)]

    @locked
    def events(self, job_id: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        self._job(job_id)
        return [event for event in self._events if event.job_id == job_id and event.id > after][:limit]

    @locked
    def waiting_count(self) -> int:
        return sum(self._count(name)[0] for name in self._queues)
