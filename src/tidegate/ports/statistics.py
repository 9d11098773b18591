"""Usage that other installations tell of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from tidegate.core.identity import Caller
from tidegate.core.usage import Tally


@dataclass(frozen=True, slots=True)
class Report:
    """What an installation used from `since` up to and without `until`; waits are not told."""

    owner: str
    """Who sent it. Installations of different owners are different, whatever they are called."""
    installation: str
    version: str
    since: datetime
    until: datetime
    received_at: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """Reports added up. `versions` counts installations by what they said last."""

    installations: int = 0
    reports: int = 0
    since: datetime | None = None
    until: datetime | None = None
    tally: Tally = field(default_factory=Tally)
    versions: Mapping[str, int] = field(default_factory=dict)


class StatisticsStore(Protocol):
    """Reports of installations: for each, one about any time."""

    def add_report(self, report: Report, by: Caller | None = None) -> bool:
        """Keep it; False when it takes the place of one about the same time. Raises Conflict when it tells of a time of which
        another one tells in part, as it would count twice."""
        ...

    def report_summary(self, owner: str | None, since: datetime, until: datetime) -> ReportSummary:
        """Of the reports of this owner, or of all, about times that begin from `since` up to and without `until`."""
        ...

    def prune_reports(self, before: datetime) -> int:
        """Forget reports about times that ended before; how many."""
        ...
