"""What finished jobs have used, kept for longer than the jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidegate.core.usage import UsageBy, UsageRecord

MOST_HOURS = 24
"""So many hours are added up at a time: with a thousand jobs in each it takes a second."""


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Whose usage is wanted: of jobs that ended from `since` up to and without `until`, both of them begins of hours."""

    by: UsageBy
    since: datetime
    until: datetime
    owner: str | None = None
    """Only his; None: everybody's."""


class UsageStore(Protocol):
    """Usage by hours. A job counts in the hour in which it ended, with all that its attempts used, and it counts once,
    whether it is still there, forgotten, or was added up before."""

    def usage(self, filter: UsageFilter) -> list[UsageRecord]:
        """The sums for each name that has any, by name."""
        ...

    def count_usage(self, before: datetime, most: int = MOST_HOURS) -> int:
        """Add up hours that ended before and are not added up as they are now, so that nobody has to look at their jobs again:
        the latest, at most so many; how many. Changes no sum."""
        ...

    def prune_usage(self, before: datetime) -> int:
        """Forget the hours before; how many rows. Jobs that are still there count on."""
        ...
