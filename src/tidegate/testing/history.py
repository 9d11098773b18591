"""What happened to a cluster while parts of it died, and what must be true of it whatever died.

A history is plain data: it can be written down, read again, and judged by itself. The promises are C1 to C8 of the fault
suite (`docs/decisions/failure.md`), each checked from what users were told and what the store says at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
_ENDED_EVENTS = frozenset({"succeeded", "failed", "cancelled"})


class Violation(NamedTuple):
    """A promise that was not kept: its short name and what was seen."""

    promise: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job a client was told is accepted. `answer` is the number its query must yield, or, of an archive that is linted in
    batches (`many`), the number of its files; `key` the idempotency key."""

    job_id: str
    key: str
    answer: int
    many: bool = False


@dataclass(frozen=True, slots=True)
class CancelTold:
    """A cancel that was answered, and the job's status in that answer."""

    job_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to the cluster and when, in seconds since the beginning."""

    name: str
    target: str
    at_s: float


@dataclass(frozen=True, slots=True)
class AttemptSeen:
    number: int
    state: str
    worker: str


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job as the API shows it when all is quiet. `answer` is what its result holds, read from its source; of an archive how
    many of its files have a report. `attempts` are those of its first task, `others` those of the others.
    """

    job_id: str
    status: str
    attempts: tuple[AttemptSeen, ...]
    events: tuple[tuple[int, str], ...]
    """Id and type, in the order in which the API gives them."""
    source: str | None = None
    answer: int | None = None
    others: tuple[tuple[AttemptSeen, ...], ...] = ()


@dataclass(slots=True)
class History:
    """One run. `audits` are sentences about what running checks of the ledger found wrong, `orphans` about processes that
    were left, `doubled` about sources that stand for the same job."""

    seed: int
    submitted: list[Submitted] = field(default_factory=list)
    cancels: list[CancelTold] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    jobs: dict[str, JobSeen] = field(default_factory=dict)
    sources: list[tuple[str, str]] = field(default_factory=list)
    """Name and job of every source that a job made."""
    audits: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    """Jobs that had not ended in time after the faults had stopped."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> History:
        """The inverse of `as_json`, also after a trip through JSON text."""
        return cls(
            seed=values["seed"],
            submitted=[Submitted(**one) for one in values["submitted"]],
            cancels=[CancelTold(**one) for one in values["cancels"]],
            faults=[Fault(**one) for one in values["faults"]],
            jobs={job_id: _job_from_json(one) for job_id, one in values["jobs"].items()},
            sources=[(name, job_id) for name, job_id in values["sources"]],
            audits=list(values["audits"]),
            orphans=list(values["orphans"]),
            unfinished=list(values["unfinished"]),
        )


def judge(history: History) -> list[Violation]:
    """Everything about a history that breaks a promise; empty when all were kept."""
    return [
        *_nothing_lost(history),
        *_nothing_doubled(history),
        *(wrong for job in history.jobs.values() for wrong in _attempts_in_order(job)),
        *_cancels_win(history),
        *_effects_once(history),
        *(Violation("no oversell", sentence) for sentence in history.audits),
        *(Violation("no orphan", sentence) for sentence in history.orphans),
        *(Violation("progress", f"Job {job} had not ended in time.") for job in history.unfinished),
    ]


def _nothing_lost(history: History) -> Iterator[Violation]:
    """C1: every job that was acknowledged is there and ended well, unless it was cancelled."""
    for told in history.submitted:
        job = history.jobs.get(told.job_id)
        if job is None:
            yield Violation("nothing lost", f"Job {told.job_id} was accepted and is not there.")
        elif job.status not in TERMINAL and told.job_id not in history.unfinished:
            yield Violation("nothing lost", f"Job {told.job_id} is {job.status} at the end.")
        elif job.status == "FAILED":  # none of them can fail by itself
            yield Violation("nothing lost", f"Job {told.job_id} failed.")


def _nothing_doubled(history: History) -> Iterator[Violation]:
    """One key, one job, however often the client had to ask."""
    jobs_of = Counter(key for key, _ in {(told.key, told.job_id) for told in history.submitted})
    for key, count in jobs_of.items():
        if count > 1:
            yield Violation("nothing doubled", f"Key {key} made {count} jobs.")


def _attempts_in_order(job: JobSeen) -> Iterator[Violation]:
    """C2 and C6: attempts count up by one, only the last can have succeeded, a job ends once, event ids grow."""
    for attempts in (job.attempts, *job.others):
        yield from _tries_in_order(job, attempts)
    ids = [number for number, _ in job.events]
    if any(later <= earlier for earlier, later in pairwise(ids)):
        yield Violation("events in order", f"Job {job.job_id} has events {ids}.")
    ends = [kind for _, kind in job.events if kind in _ENDED_EVENTS]
    if job.status in TERMINAL and ends != [job.status.lower()]:
        yield Violation("ends once", f"Job {job.job_id} is {job.status}; its ends are {ends}.")


def _tries_in_order(job: JobSeen, attempts: Sequence[AttemptSeen]) -> Iterator[Violation]:
    """Of one task."""
    numbers = [attempt.number for attempt in attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield Violation("attempts in order", f"Job {job.job_id} has attempts {numbers}.")
    if job.status in TERMINAL:
        living = [attempt for attempt in attempts if attempt.state in ("starting", "running")]
        for attempt in living:
            yield Violation(
                "attempts in order",
                f"Job {job.job_id} is {job.status} with attempt {attempt.number} {attempt.state}.",
            )
    for attempt in attempts[:-1]:
        if attempt.state == "succeeded":
            yield Violation(
                "attempts in order", f"Job {job.job_id} ran again after attempt {attempt.number} succeeded."
            )


def _cancels_win(history: History) -> Iterator[Violation]:
    """A job that was told to be cancelled while it lived does not succeed."""
    for told in history.cancels:
        job = history.jobs.get(told.job_id)
        if job is not None and told.status not in TERMINAL and job.status == "SUCCEEDED":
            yield Violation("cancel wins", f"Job {job.job_id} succeeded after its cancel was acknowledged.")


def _effects_once(history: History) -> Iterator[Violation]:
    """A job that succeeded has one source with the right answer, an archive a report on each file; one that did not has no
    source."""
    answers = {told.job_id: told.answer for told in history.submitted}
    many = {told.job_id for told in history.submitted if told.many}
    made = Counter(job_id for _, job_id in history.sources)
    for job_id, job in history.jobs.items():
        wanted = 1 if job.status == "SUCCEEDED" and job_id not in many else 0
        if job.status in TERMINAL and made[job_id] != wanted:
            yield Violation("effects once", f"Job {job_id} is {job.status} and made {made[job_id]} sources.")
        if job.status == "SUCCEEDED" and job.answer != answers.get(job_id, job.answer):
            yield Violation("effects once", f"Job {job_id} answers {job.answer}, not {answers[job_id]}.")


def _job_from_json(values: Mapping[str, Any]) -> JobSeen:
    return JobSeen(
        job_id=values["job_id"],
        status=values["status"],
        attempts=_attempts_from_json(values["attempts"]),
        events=tuple((number, kind) for number, kind in values["events"]),
        source=values["source"],
        answer=values["answer"],
        others=tuple(map(_attempts_from_json, values["others"])),
    )


def _attempts_from_json(values: Sequence[Mapping[str, Any]]) -> tuple[AttemptSeen, ...]:
    return tuple(AttemptSeen(**one) for one in values)
