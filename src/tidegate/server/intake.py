"""Intake: submissions in, stored jobs out, many in one commit.

A durable commit takes 0.2 to 0.5 ms, so submissions that arrive while one is under way share the next one (group commit).
The answer is given after the commit: what was accepted survives a `kill -9`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from tidegate.core.criticality import of_priority
from tidegate.core.job import NewJob, Priority
from tidegate.core.plan import WorkerView
from tidegate.errors import Busy, TidegateError, Unavailable
from tidegate.ports import Accepted, Bell, Clock, ExecutorStats, JobStore
from tidegate.server.drain import DrainMeter
from tidegate.server.judge import Rules, Submission, judge
from tidegate.server.kept import KeptThread
from tidegate.server.looks import LOOK_S, LOOKERS, Judge, Looks, NeedsFiles, Verdict, not_here
from tidegate.server.pressure import Shed
from tidegate.server.sojourn import Sojourn
from tidegate.server.supervisor import Supervisor, kept

log = logging.getLogger("tidegate.intake")

MOST_IN_ONE_COMMIT = 2000


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to a submission. `position` counts its queue from 1 (next); 0 when the job was there already, or has ended
    at once since its result was known."""

    job_id: int
    created: bool
    position: int


class Line(Protocol):
    """What intake asks the scheduling cycle about the line of waiting tasks."""

    def workers(self) -> Sequence[WorkerView]: ...

    def waiting(self) -> int: ...

    def ahead_of_new(self, queue: str, priority: Priority) -> int: ...


@dataclass(slots=True)
class _Parcel:
    """Submissions that came together and are answered together, once all of them are judged."""

    submissions: Sequence[Submission]
    answer: Callable[[list[Submitted | TidegateError]], None]
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """By their place among the submissions."""
    since_s: float | None = None
    """Since when it waits for intake to look at it for the first time; None when it does not."""

    @property
    def judged(self) -> bool:
        return len(self.verdicts) == len(self.submissions)


class Intake:
    """Judges and stores submissions on a thread of its own; those that name files are judged by `Looks`.

    `offer` returns at once; the callback gets one answer per submission, in order, after the commit, on intake's thread.
    Above `max_waiting` waiting tasks submissions are refused as Busy, with a Retry-After from the drain rate; under pressure
    those that `shed` refuses. `refused` hears the code of each refusal.
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
        *,
        look_s: float = LOOK_S,
        lookers: int = LOOKERS,
        shed: Shed | None = None,
        supervisor: Supervisor | None = None,
        refused: Callable[[str], None] = lambda code: None,
        sojourn: Sojourn | None = None,
    ) -> None:
        self._store = store
        self._line = line
        self._rules = rules
        self._bell = bell
        self._clock = clock
        self._drain = drain
        self._max_waiting = max_waiting
        self._looks = Looks(clock, look_s=look_s, lookers=lookers)
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._supervisor = supervisor
        self._in_hand: list[_Parcel] = []
        """Judged, and not answered yet."""
        self._thread: KeptThread | None = None
        self._stopping = False
        self._shed = shed
        self._refused = refused
        self._sojourn = sojourn or Sojourn()
        self._at_work = False
        """Whether one who comes now has to wait."""

    def start(self) -> None:
        self._thread = kept("intake", self._run, self._supervisor)
        self._thread.start()

    def stop(self) -> None:
        """Answer what was offered, then end. Later offers are refused as Unavailable."""
        self._stopping = True
        self._parcels.put(None)
        if self._thread is not None:
            self._thread.stop()

    def look_stats(self) -> ExecutorStats:
        """Of the threads that look at files; their calls are submissions' parcels."""
        return self._looks.stats()

    def offer(
        self, submissions: Sequence[Submission], answer: Callable[[list[Submitted | TidegateError]], None]
    ) -> None:
        if self._stopping:
            raise Unavailable("The server is stopping and takes no more jobs.")
        parcel = _Parcel(submissions, answer)
        if self._at_work:
            parcel.since_s = self._sojourn.joined()
        else:
            self._sojourn.found_free()
        self._parcels.put(parcel)

    def _run(self) -> None:
        self._answer_in_hand()
        last = self._at_work = False
        while not last:
            parcels, last = self._gather()
            self._begin(parcels)
            if not last:
                self._looks.answer_late()
            with self._working():
                now, workers = self._clock.now(), tuple(self._line.workers())
                self._settle([each for each in parcels if each.judged or self._judge(each, workers, now)])
            self._at_work = False
        self._looks.stop()
        self._settle(self._left())

    def _begin(self, parcels: Sequence[_Parcel]) -> None:
        """Their wait is over, and that of others begins."""
        self._at_work = True
        for parcel in parcels:
            if parcel.since_s is not None:
                self._sojourn.ended(parcel.since_s)
                parcel.since_s = None

    def _working(self) -> contextlib.AbstractContextManager[None]:
        return self._thread.working(self._clock.monotonic) if self._thread else contextlib.nullcontext()

    def _answer_in_hand(self) -> None:
        """What this thread had in hand when it crashed. Whether it was stored is not known: an idempotency key tells."""
        left, self._in_hand = self._in_hand, []
        for parcel in left:
            refusal = Unavailable(
                "Taking jobs in has failed inside the server. Look whether it is there, or try again."
            )
            with contextlib.suppress(Exception):  # it may be what has crashed
                parcel.answer([refusal for _ in parcel.submissions])

    def _gather(self) -> tuple[list[_Parcel], bool]:
        """All parcels that are there, unless a look gets late before one comes; whether the end was among them."""
        parcels: list[_Parcel] = []
        count = 0
        try:
            item = self._parcels.get(timeout=self._looks.patience_s())
        except queue.Empty:
            return [], False
        while item is not None:
            parcels.append(item)
            count += len(item.submissions)
            if count >= MOST_IN_ONE_COMMIT or self._parcels.empty():
                return parcels, False
            item = self._parcels.get()
        return parcels, True

    def _left(self) -> list[_Parcel]:
        """What has come back from its look after the end."""
        parcels: list[_Parcel] = []
        while not self._parcels.empty():
            if (parcel := self._parcels.get()) is not None:
                parcels.append(parcel)
        return parcels

    def _judge(self, parcel: _Parcel, workers: tuple[WorkerView, ...], now: datetime) -> bool:
        """Judge a parcel; whether that is done. Otherwise it comes again when its files have been looked at."""
        with_files: dict[int, Judge] = {}
        for at, submission in enumerate(parcel.submissions):
            try:
                parcel.verdicts[at] = judge(submission, self._rules, workers, now, not_here)
            except TidegateError as refusal:
                parcel.verdicts[at] = refusal
            except NeedsFiles:
                with_files[at] = functools.partial(judge, submission, self._rules, workers, now)
            except Exception as error:
                log.exception("A submission could not be judged.", extra=_whose(submission))
                parcel.verdicts[at] = Unavailable(
                    f"The job could not be judged: {type(error).__name__}. Try again."
                )
        if with_files:
            self._looks.take(with_files, functools.partial(self._looked, parcel))
        return not with_files

    def _looked(self, parcel: _Parcel, verdicts: dict[int, Verdict]) -> None:
        parcel.verdicts |= verdicts
        self._parcels.put(parcel)

    def _settle(self, parcels: Sequence[_Parcel]) -> None:
        """Store what is judged and answer it."""
        self._in_hand = list(parcels)
        verdicts = [
            (parcel.submissions[at], parcel.verdicts[at])
            for parcel in parcels
            for at in range(len(parcel.submissions))
        ]
        try:
            answers = self._take(verdicts)
        except Exception as error:
            log.exception("A batch of submissions could not be stored.")
            refusal = (
                error
                if isinstance(error, TidegateError)
                else Unavailable(f"The job could not be stored: {type(error).__name__}. Try again.")
            )
            answers = [refusal for _ in verdicts]
        for answer in answers:
            if isinstance(answer, TidegateError):
                self._refused(answer.code)
        for parcel in parcels:
            self._in_hand.pop(0)
            parcel.answer(answers[: len(parcel.submissions)])
            answers = answers[len(parcel.submissions) :]

    def _take(self, verdicts: Sequence[tuple[Submission, Verdict]]) -> list[Submitted | TidegateError]:
        judged = self._admit(verdicts)
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

    def _admit(self, verdicts: Sequence[tuple[Submission, Verdict]]) -> list[Verdict]:
        """The verdicts, with Busy for what the pressure leaves no place for, or the line no room."""
        closed = self._supervisor.refusal() if self._supervisor is not None else None
        if closed is not None:
            return [closed for _ in verdicts]
        room = self._max_waiting - self._waiting() if verdicts else 0
        admitted: list[Verdict] = []
        for submission, job in verdicts:
            if isinstance(job, TidegateError) or submission.internal:
                admitted.append(job)
                continue
            refusal = None if self._shed is None else self._shed.refusal(of_priority(job.priority))
            if refusal is not None:
                admitted.append(refusal)
                continue
            room -= len(job.tasks)
            admitted.append(job if room >= 0 else self._busy(-room))
        return admitted

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
        return Submitted(stored.job_id, created=True, position=0 if stored.ended else places.take(job))


def _whose(submission: Submission) -> dict[str, str | None]:
    return {"user_id": submission.owner, "request_id": submission.by.request_id if submission.by else None}


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
