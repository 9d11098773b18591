"""Counts what the store has committed: jobs, tasks and attempts, each by the process whose commit it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from tidegate.core.attempt import AttemptEnd, Claimed, JobAfter, Recorded
from tidegate.core.identity import Caller
from tidegate.core.job import AttemptKey, NewJob
from tidegate.core.plan import Plan, Start
from tidegate.ports import Accepted, Cancelled, Store
from tidegate.telemetry.meters import Meters

__all__ = ["counted"]

_SUCCEEDED, _FAILED, _CANCELLED = "succeeded", "failed", "cancelled"


def counted(store: Store, meters: Meters) -> Store:
    """The store, of whose commits `meters` hear."""
    for status in (_SUCCEEDED, _FAILED, _CANCELLED):  # so that a rate can be told from the first one on
        meters.count("sql_linting_jobs_total", status, by=0)
        meters.count("sql_linting_tasks_total", status, by=0)
    return cast(Store, _Counted(store, meters))


class _Counted:
    """Hands everything to the store, and counts what came of it."""

    def __init__(self, store: Store, meters: Meters) -> None:
        self._store = store
        self._meters = meters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        answers = self._store.add_jobs(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            if not isinstance(answer, Accepted) or not answer.created:
                continue
            self._meters.count("tidegate_jobs_accepted_total", job.kind, job.queue)
            if answer.ended:
                self._job(job.kind, job.queue, _SUCCEEDED)
                self._known(job.kind, job.queue, 1)
        return answers

    def commit(self, plan: Plan, at: datetime, epoch: int, *, claim: bool = False) -> list[Start]:
        starts = self._store.commit(plan, at, epoch, claim=claim)
        for queue, count in Counter(start.queue for start in starts).items():
            self._meters.count("tidegate_starts_total", queue, by=count)
        return starts

    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        claimed = self._store.claim(worker_id, generation, keys, at)
        self._ended(claimed.ended)
        return claimed

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        return self._ended(self._store.report(ends))

    def end_lost(self, ends: Sequence[AttemptEnd], epoch: int) -> Recorded:
        return self._ended(self._store.end_lost(ends, epoch))

    def request_cancel(self, job_id: int, at: datetime, by: Caller | None = None) -> Cancelled:
        cancelled = self._store.request_cancel(job_id, at, by)
        if cancelled.ended_tasks:
            self._tasks(cancelled.kind, cancelled.queue, _CANCELLED, cancelled.ended_tasks)
            if cancelled.status.final:
                self._job(cancelled.kind, cancelled.queue, cancelled.status.lower())
        return cancelled

    def _ended(self, recorded: Recorded) -> Recorded:
        for end in recorded:
            self._attempt(end, recorded.jobs[end.key.job_id])
        for job in recorded.jobs.values():
            if job.known:
                self._known(job.kind, job.queue, job.known)
            if job.status.final:
                self._job(job.kind, job.queue, job.status.lower())
        return recorded

    def _attempt(self, end: AttemptEnd, job: JobAfter) -> None:
        meters, usage = self._meters, end.usage
        reason = _SUCCEEDED if end.exit is None else end.exit.reason.value
        meters.count("tidegate_attempts_total", job.kind, job.queue, reason)
        if usage.wall_seconds is not None:
            meters.observe("tidegate_attempt_duration_seconds", usage.wall_seconds, job.kind)
        if usage.cpu_seconds:
            meters.count("tidegate_attempt_cpu_seconds_total", job.kind, job.queue, by=usage.cpu_seconds)
        if end.digest is not None:
            meters.count("tidegate_kept_results_total", job.kind, "miss")
        if end.next_state.final:
            self._tasks(job.kind, job.queue, end.next_state.value, 1)

    def _known(self, kind: str, queue: str, count: int) -> None:
        self._meters.count("tidegate_kept_results_total", kind, "hit", by=count)
        self._tasks(kind, queue, _SUCCEEDED, count)

    def _tasks(self, kind: str, queue: str, status: str, count: int) -> None:
        self._meters.count("sql_linting_tasks_total", status, by=count)
        self._meters.count("tidegate_tasks_total", kind, queue, status, by=count)

    def _job(self, kind: str, queue: str, status: str) -> None:
        self._meters.count("sql_linting_jobs_total", status)
        self._meters.count("tidegate_jobs_total", kind, queue, status)
