"""Intake: submissions in, stored jobs out, many in one commit.

A durable commit takes 0.2 to 0.5 ms, so submissions that arrive while one is under way share the next one (group commit).
The answer is given after the commit: what was accepted survives a `kill -9`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.core.job import NewJob, Priority
from tidegate.core.plan import WorkerView
from tidegate.errors import Busy, TidegateError, Unavailable
from tidegate.ports import Accepted, Bell, Clock, JobStore
from tidegate.server.drain import DrainMeter
from tidegate.server.judge import Rules, Submission, judge

log = logging.getLogger("tidegate.intake")

MOST_IN_ONE_COMMIT = 2000


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to a submission. `position` counts its queue from 1 (next); 0 when the job was there already."""

    job_id: int
    created: bool
    position: int


class Line(Protocol):
    """What intake asks the scheduling cycle about the line of waiting tasks."""

    def workers(self) -> Sequence[WorkerView]: ...

    def waiting(self) -> int: ...

    def ahead_of_new(self, queue: str, priority: Priority) -> int: ...


@dataclass(frozen=True, slots=True)
class _Parcel:
    """Submissions that came together and are answered together."""

    submissions: Sequence[Submission]
    answer: Callable[[list[Submitted | TidegateError]], None]


class Intake:
    """Judges and stores submissions on a thread of its own.

    `offer` returns at once; the callback gets one answer per submission, in order, after the commit, on intake's thread.
    Above `max_waiting` waiting tasks submissions are refused as Busy, with a Retry-After from the drain rate.
    """

    def __init__(
        self,
        store: JobStore,
        line: Line,
        rules: Rules,
        bell: Bell,
        clock: Clock,
        drain: DrainMeter,
        max_waiting: int,
    ) -> None:
        self._store = store
        self._line = line
        self._rules = rules
        self._bell = bell
        self._clock = clock
        self._drain = drain
        self._max_waiting = max_waiting
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="tidegate-intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what was offered, then end. Later offers are refused as Unavailable."""
        self._stopping = True
        self._parcels.put(None)
        if self._thread is not None:
            self._thread.join()

    def offer(
        self, submissions: Sequence[Submission], answer: Callable[[list[Submitted | TidegateError]], None]
    ) -> None:
        if self._stopping:
            raise Unavailable("The server is stopping and takes no more jobs.")
        self._parcels.put(_Parcel(submissions, answer))

    def _run(self) -> None:
        last = False
        while not last:
            parcels, last = self._gather()
            try:
                answers = self._take([s for parcel in parcels for s in parcel.submissions])
            except Exception as error:
                log.exception("A batch of submissions could not be stored.")
                refusal = (
                    error
                    if isinstance(error, TidegateError)
                    else Unavailable(f"The job could not be stored: {type(error).__name__}. Try again.")
                )
                answers = [refusal for parcel in parcels for _ in parcel.submissions]
            for parcel in parcels:
                parcel.answer(answers[: len(parcel.submissions)])
                answers = answers[len(parcel.submissions) :]

    def _gather(self) -> tuple[list[_Parcel], bool]:
        """All parcels that are there, at least one; whether the end was among them."""
        parcels: list[_Parcel] = []
        count = 0
        item = self._parcels.get()
        while item is not None:
            parcels.append(item)
            count += len(item.submissions)
            if count >= MOST_IN_ONE_COMMIT or self._parcels.empty():
                return parcels, False
            item = self._parcels.get()
        return parcels, True

    def _take(self, submissions: Sequence[Submission]) -> list[Submitted | TidegateError]:
        judged = self._judge_all(submissions)
        jobs = [job for job in judged if isinstance(job, NewJob)]
        if not jobs:
            return [job for job in judged if isinstance(job, TidegateError)]
        places = _Places(self._line, jobs)
        stored = iter(self._store.add_jobs(jobs))
        self._bell.ring("schedule")
        return [
            job if isinstance(job, TidegateError) else self._answer(job, next(stored), places)
            for job in judged
        ]

    def _judge_all(self, submissions: Sequence[Submission]) -> list[NewJob | TidegateError]:
        now = self._clock.now()
        workers = tuple(self._line.workers())
        room = self._max_waiting - self._waiting()
        judged: list[NewJob | TidegateError] = []
        for submission in submissions:
            try:
                job = judge(submission, self._rules, workers, now)
                room -= 0 if submission.internal else len(job.tasks)
                judged.append(job if room >= 0 or submission.internal else self._busy(1 - room))
            except TidegateError as error:
                judged.append(error)
        return judged

    def _waiting(self) -> int:
        """How many tasks wait. The scheduler's count may be a few commits behind, so near the limit the store is asked."""
        seen = self._line.waiting()
        return seen if seen + 4 * MOST_IN_ONE_COMMIT < self._max_waiting else self._store.waiting_count()

    def _busy(self, too_many: int) -> Busy:
        retry_after_s = self._drain.retry_after_s(too_many, self._clock.monotonic())
        return Busy(
            f"The line is full: {self._max_waiting} tasks wait already. Try again in {retry_after_s:g} s.",
            retry_after_s=retry_after_s,
            numbers={"limit": self._max_waiting},
        )

    @staticmethod
    def _answer(job: NewJob, stored: Accepted | Exception, places: _Places) -> Submitted | TidegateError:
        if isinstance(stored, TidegateError):
            return stored
        if isinstance(stored, Exception):
            log.error("A job could not be stored.", exc_info=stored)
            return Unavailable("The job could not be stored. Try again.")
        if not stored.created:
            return Submitted(stored.job_id, created=False, position=0)
        return Submitted(stored.job_id, created=True, position=places.take(job))


class _Places:
    """Positions for a batch of new jobs, from the line as it was before they were stored."""

    def __init__(self, line: Line, jobs: Sequence[NewJob]) -> None:
        kinds = {(job.queue, job.priority) for job in jobs}
        self._ahead = {kind: line.ahead_of_new(*kind) for kind in kinds}

    def take(self, job: NewJob) -> int:
        position = self._ahead[job.queue, job.priority] + 1
        for line, priority in self._ahead:
            if line == job.queue and priority <= job.priority:
                self._ahead[line, priority] += len(job.tasks)
        return position
