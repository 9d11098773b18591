"""`UsageStore` in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from tidegate.core.resources import GIB
from tidegate.core.states import JobStatus
from tidegate.core.usage import (
    HOUR,
    NEVER_STARTED,
    Cell,
    Tally,
    UsageBy,
    UsageRecord,
    hour_of,
    wait_bucket,
)
from tidegate.ports import MOST_HOURS, AttemptRecord, UsageFilter
from tidegate.testing.memory_rows import MemoryJob
from tidegate.testing.memory_state import MemoryState, locked

_MICROSECOND = timedelta(microseconds=1)


class MemoryUsage(MemoryState):
    """`UsageStore` in memory: looks at all jobs each time, and only notes which hours it was told to add up."""

    @locked
    def usage(self, filter: UsageFilter) -> list[UsageRecord]:
        found: dict[str, UsageRecord] = {}
        for cell, tally in (*self._forgotten_usage, *map(self._spent, self._ended())):
            if filter.since <= cell.hour < filter.until and filter.owner in (None, cell.owner):
                name = _name(filter.by, cell)
                more = UsageRecord(name, tally, {cell.wait: tally.jobs})
                found[name] = found.get(name, UsageRecord(name)).plus(more)
        return [found[name] for name in sorted(found)]

    @locked
    def count_usage(self, before: datetime, most: int = MOST_HOURS) -> int:
        counts: dict[datetime, int] = {}
        for job in self._ended():
            hour = self._spent(job)[0].hour
            if hour + HOUR <= before:
                counts[hour] = counts.get(hour, 0) + 1
        known = {hour: count for hour, count in self._counted_hours.items() if hour + HOUR <= before}
        changed = [hour for hour in known.keys() | counts.keys() if known.get(hour) != counts.get(hour)]
        changed = sorted(changed, reverse=True)[:most]
        self._counted_hours = known | {hour: counts.get(hour, 0) for hour in changed}
        return len(changed)

    @locked
    def prune_usage(self, before: datetime) -> int:
        kept = [one for one in self._forgotten_usage if one[0].hour >= before]
        count, self._forgotten_usage = len(self._forgotten_usage) - len(kept), kept
        self._counted_hours = {hour: n for hour, n in self._counted_hours.items() if hour >= before}
        return count

    def _remember(self, job: MemoryJob) -> None:
        """It is about to be forgotten."""
        cell, tally = self._spent(job)
        self._forgotten_usage.append((cell, tally))
        self._counted_hours.pop(cell.hour, None)

    def _ended(self) -> Iterator[MemoryJob]:
        return (job for job in self._jobs.values() if job.finished_at is not None)

    def _spent(self, job: MemoryJob) -> tuple[Cell, Tally]:
        assert job.finished_at is not None
        order, status = job.order, job.status()
        wait = None if job.started_at is None else job.started_at - order.created_at
        bucket = NEVER_STARTED if wait is None else wait_bucket(wait // _MICROSECOND)
        tally = Tally(
            jobs=1,
            succeeded=int(status is JobStatus.SUCCEEDED),
            failed=int(status is JobStatus.FAILED),
            cancelled=int(status is JobStatus.CANCELLED),
            wait_seconds=0.0 if wait is None else wait.total_seconds(),
        )
        for task in job.tasks:
            for attempt in task.attempts:
                tally = tally.plus(self._spent_by(attempt.record, job.finished_at))
        return Cell(hour_of(job.finished_at), order.owner, order.queue, order.kind, bucket), tally

    def _spent_by(self, attempt: AttemptRecord, finished_at: datetime) -> Tally:
        released_at = min(self._released.get(attempt.key, finished_at), finished_at)
        held_s = (released_at - attempt.started_at).total_seconds() if attempt.head is None else 0.0
        wall_s, peak_bytes = attempt.usage.wall_seconds or 0.0, attempt.usage.peak_memory_bytes or 0
        return Tally(
            attempts=1,
            cpu_seconds=attempt.usage.cpu_seconds or 0.0,
            wall_seconds=wall_s,
            allocated_cpu_seconds=attempt.resources.cpu_milli / 1000 * held_s,
            allocated_gib_seconds=attempt.resources.memory_bytes / GIB * held_s,
            peak_gib_seconds=peak_bytes / GIB * wall_s,
        )


def _name(by: UsageBy, cell: Cell) -> str:
    return {UsageBy.USER: cell.owner, UsageBy.QUEUE: cell.queue, UsageBy.KIND: cell.kind}[by]
