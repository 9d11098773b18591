"""What finished jobs have used, added up by hours, and how long they waited."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

HOUR = timedelta(hours=1)
WAIT_STEP = 1.25
"""Each bound of waits over the one before. Counts between such bounds can be added, and a quantile taken from them is at most
11.1 % off, as DDSketch shows (Masson, Rim and Lee, VLDB 2019): (1.25 - 1) / (1.25 + 1)."""
LEAST_WAIT_S = 0.01
WAIT_BOUNDS_US = tuple(round(LEAST_WAIT_S * 1e6 * WAIT_STEP**step) for step in range(84))
"""Up to twelve days. They are the meaning of numbers in the database: they never change."""
NEVER_STARTED = -1
"""In place of a wait: a job that was cancelled while it waited."""


class UsageBy(StrEnum):
    """What usage is told apart by."""

    USER = "user"
    QUEUE = "queue"
    KIND = "kind"


class Tally(NamedTuple):
    """Sums over jobs. What nobody could measure, such as of a lost attempt, counts as nothing."""

    jobs: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    cpu_seconds: float = 0.0
    """As the kernel counts them for the process trees of attempts."""
    wall_seconds: float = 0.0
    allocated_cpu_seconds: float = 0.0
    """CPUs times the seconds for which they were allocated."""
    allocated_gib_seconds: float = 0.0
    """GiB times the seconds for which they were allocated."""
    peak_gib_seconds: float = 0.0
    """The peak of each attempt times its seconds: at least what it had in use."""
    wait_seconds: float = 0.0
    """From submission to the first start, of jobs that started."""

    def plus(self, other: Tally) -> Tally:
        return Tally._make(mine + others for mine, others in zip(self, other, strict=True))


_NOTHING = Tally()


class Cell(NamedTuple):
    """Jobs that are counted together: ended in this hour, with this owner, queue, kind, and bucket of waits."""

    hour: datetime
    owner: str
    queue: str
    kind: str
    wait: int


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The sums of one user, queue or kind, and how many of its jobs waited how long (bucket to count)."""

    name: str
    tally: Tally = _NOTHING
    waits: Mapping[int, int] = field(default_factory=dict)

    def plus(self, other: UsageRecord) -> UsageRecord:
        """Both together, under the name of the first."""
        waits = dict(self.waits)
        for bucket, count in other.waits.items():
            waits[bucket] = waits.get(bucket, 0) + count
        return UsageRecord(self.name, self.tally.plus(other.tally), waits)

    @property
    def started(self) -> int:
        """Jobs that were started at all."""
        return sum(count for bucket, count in self.waits.items() if bucket != NEVER_STARTED)

    @property
    def wait_mean_s(self) -> float | None:
        """None when none was started."""
        return self.tally.wait_seconds / self.started if self.started else None

    def wait_quantile_s(self, share: float) -> float | None:
        """The wait that this share of the jobs did not exceed, at most 11.1 % off; None when none was started."""
        wanted, seen = share * self.started, 0
        for bucket, count in sorted(self.waits.items()):
            if bucket != NEVER_STARTED:
                seen += count
                if seen >= wanted:
                    return _middle_s(bucket)
        return None


def total(name: str, records: Iterable[UsageRecord]) -> UsageRecord:
    """All of them together."""
    added = UsageRecord(name)
    for record in records:
        added = added.plus(record)
    return added


def wait_bucket(wait_us: int) -> int:
    """The number of the first bound that a wait does not exceed; that after the last for the longest waits."""
    return bisect_left(WAIT_BOUNDS_US, wait_us)


def _middle_s(bucket: int) -> float:
    """What is as far from both ends of a bucket, as shares; 0 stands for its least."""
    if bucket >= len(WAIT_BOUNDS_US):
        return WAIT_BOUNDS_US[-1] / 1e6
    return WAIT_BOUNDS_US[bucket] / 1e6 * (2 / (1 + WAIT_STEP)) if bucket else LEAST_WAIT_S / 2


def hour_of(at: datetime) -> datetime:
    """The begin of its hour."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def whole_hours(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The hours that a time touches: from the begin of the first to the end of the last."""
    last = hour_of(until)
    return hour_of(since), last if last == until else last + HOUR
