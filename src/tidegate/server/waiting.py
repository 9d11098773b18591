"""Why a task waits and when it may start, as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.core.job import WaitingTask
from tidegate.core.plan import Reason, ReasonCode

_WAITS_ITS_TURN = frozenset(
    {ReasonCode.RESOURCES, ReasonCode.QUEUE_CAP, ReasonCode.BEHIND, ReasonCode.NOT_JUDGED}
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a task waits (`code`, `sentence`, `numbers`), its place in its queue from 1, and when it may start."""

    code: str
    sentence: str
    numbers: Mapping[str, int | float | str]
    position: int | None
    expected_start_at: datetime | None
    expected_start_basis: str
    """What the expectation rests on, or why there is none."""


def waiting(
    task: WaitingTask, reason: Reason, position: int | None, starts_per_s: float, now: datetime
) -> Waiting:
    """`starts_per_s` is how fast the task's queue has been starting tasks lately; 0.0 when nothing is known."""
    at, basis = _expected(task.queue, reason, position, starts_per_s, now)
    return Waiting(reason.code.value, reason.sentence, reason.numbers, position, at, basis)


def waiting_for_its_time(job_id: int, not_before: datetime) -> Waiting:
    """Of a job that has no place in a queue yet, since it may not start before a given time."""
    return Waiting(
        ReasonCode.NOT_BEFORE.value,
        f"Job {job_id} waits for its time: it may start from {not_before:%Y-%m-%d %H:%M:%S} UTC on.",
        {"not_before": not_before.isoformat()},
        position=None,
        expected_start_at=not_before,
        expected_start_basis="Its time; from then on it waits for room as any other.",
    )


def waiting_unseen(job_id: int) -> Waiting:
    """Of a job that is stored, and has no place in a queue until the scheduler has looked at it."""
    return _without_place(
        ReasonCode.NOT_JUDGED,
        f"Job {job_id} has not been looked at yet; the next pass of the scheduler will.",
    )


def waiting_no_more(job_id: int) -> Waiting:
    """Of a job that left its queue while it was being asked about."""
    return _without_place(
        ReasonCode.STARTING,
        f"The scheduler has just taken job {job_id} out of its queue. Ask again to see it run.",
    )


def waiting_for_the_server(reason: Reason) -> Waiting:
    """Of a job that nobody will look at before the server is back."""
    return _without_place(reason.code, reason.sentence)


def _without_place(code: ReasonCode, sentence: str) -> Waiting:
    return Waiting(code.value, sentence, {}, None, None, "It has no place in its queue at this moment.")


def _expected(
    queue: str, reason: Reason, position: int | None, starts_per_s: float, now: datetime
) -> tuple[datetime | None, str]:
    if reason.code not in _WAITS_ITS_TURN:
        return None, "It cannot be foretold when this reason will pass."
    if position is None or starts_per_s <= 0:
        return None, f"Queue '{queue}' has started nothing in the last minute."
    basis = (
        f"Place {position} in queue '{queue}', which started {starts_per_s * 60:.3g} tasks a minute lately."
    )
    return now + timedelta(seconds=position / starts_per_s), basis
