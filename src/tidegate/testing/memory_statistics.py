"""`StatisticsStore` in memory."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from tidegate.core.identity import Action, Caller
from tidegate.core.usage import Tally
from tidegate.ports import Report, ReportSummary
from tidegate.store.statistics import overlap, told_of
from tidegate.testing.memory_state import MemoryState, locked


class MemoryStatistics(MemoryState):
    """`StatisticsStore` in memory."""

    @locked
    def add_report(self, report: Report, by: Caller | None = None) -> bool:
        there = [
            other
            for other in self._reports
            if (other.owner, other.installation) == (report.owner, report.installation)
            and other.since < report.until
            and other.until > report.since
        ]
        for other in there:
            if (other.since, other.until) != (report.since, report.until):
                raise overlap(report, other.since, other.until)
            self._reports.remove(other)
        self._reports.append(report)
        self._note(by, Action.REPORT_USAGE, f"installation {report.installation}", **told_of(report))
        return not there

    @locked
    def report_summary(self, owner: str | None, since: datetime, until: datetime) -> ReportSummary:
        found = sorted(
            (one for one in self._reports if owner in (None, one.owner) and since <= one.since < until),
            key=lambda one: one.since,
        )
        if not found:
            return ReportSummary()
        tally = Tally()
        for report in found:
            tally = tally.plus(report.tally)
        newest = {(one.owner, one.installation): one.version for one in found}
        return ReportSummary(
            len(newest),
            len(found),
            found[0].since,
            max(one.until for one in found),
            tally._replace(wait_seconds=0.0),
            Counter(newest.values()),
        )

    @locked
    def prune_reports(self, before: datetime) -> int:
        kept = [one for one in self._reports if one.until >= before]
        count, self._reports = len(self._reports) - len(kept), kept
        return count
