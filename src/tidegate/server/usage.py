"""What was used: by whom, on what, and what the machines felt meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from tidegate.core.readings import Sample, thinned
from tidegate.core.usage import UsageBy, UsageRecord, whole_hours
from tidegate.errors import InvalidInput
from tidegate.ports import Clock, Store, UsageFilter

USUAL_TIME = timedelta(days=30)
USUAL_HISTORY = timedelta(days=1)
_PIECE = timedelta(hours=1)
"""Samples are read for so long at a time: 60 of each place, far below the most that the store answers."""
_ENOUGH_SAMPLES = 20_000
"""A page of the history ends after the step in which it has read so many, which takes half a second."""
_ENOUGH_PIECES = 2_000
"""The same of times without any samples: each piece is a question to the database."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The sums by name, for the hours from `since` up to and without `until`."""

    since: datetime
    until: datetime
    records: list[UsageRecord]


class Step(NamedTuple):
    """What a worker or server felt in one step of time: of each reading the worst; `samples` of a minute each."""

    at: datetime
    place: str
    sample: Sample
    samples: int


class UsageDesk:
    """Answers of usage. All of it blocks."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def report(
        self, by: UsageBy, since: datetime | None, until: datetime | None, owner: str | None
    ) -> UsageReport:
        """Of the hours that this time touches; by default the last 30 days. `owner`: only his."""
        first, end = self._time(since, until, USUAL_TIME)
        first, end = whole_hours(first, end)
        return UsageReport(first, end, self._store.usage(UsageFilter(by, first, end, owner)))

    def history(
        self,
        place: str | None,
        since: datetime | None,
        until: datetime | None,
        step: timedelta,
        most: int,
        after: datetime | None = None,
    ) -> tuple[list[Step], datetime | None]:
        """At most so many steps of the history, of one place or of all, and where the next page begins; None: it was the last.

        Steps are counted from `since`, by default a day ago; `after` is where this page begins.
        """
        first, end = self._time(since, until, USUAL_HISTORY)
        at, found, read = max(first, after or first), list[Step](), 0
        enough_at = at + _ENOUGH_PIECES * _PIECE
        for _ in range(most):
            if at >= min(end, enough_at) or read >= _ENOUGH_SAMPLES:
                break
            steps = list(self._step(place, at, min(at + step, end)))
            read += sum(one.samples for one in steps)
            found += steps
            at += step
        return found, at if at < end else None

    def _time(
        self, since: datetime | None, until: datetime | None, usual: timedelta
    ) -> tuple[datetime, datetime]:
        end = until or self._clock.now()
        first = since or end - usual
        if first >= end:
            raise InvalidInput(
                f"from: {first:%Y-%m-%dT%H:%M:%SZ} is not before now. Say `to` as well.",
                numbers={"field": "from"},
            )
        return first, end

    def _step(self, place: str | None, since: datetime, until: datetime) -> Iterator[Step]:
        of_place: dict[str, list[Sample]] = {}
        for begin, end in _pieces(since, until):
            for where, sample in self._store.samples(place, begin, end):
                of_place.setdefault(where, []).append(sample)
        for where, samples in sorted(of_place.items()):
            worst = thinned(samples)
            assert worst is not None
            yield Step(since, where, worst, len(samples))


def _pieces(since: datetime, until: datetime) -> Iterable[tuple[datetime, datetime]]:
    while since < until:
        yield since, min(since + _PIECE, until)
        since += _PIECE
