"""Reports of other installations: taken within bounds, and added up."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.core.identity import Caller
from tidegate.core.usage import Tally
from tidegate.errors import InvalidInput
from tidegate.ports import Clock, Report, ReportSummary, Store
from tidegate.server.buckets import Buckets

REPORTS = 60
REPORT_EVERY_S = 60.0
"""An owner may send sixty reports in a row, such as those of two days that could not be sent, then one a minute."""
LONGEST = timedelta(days=366)
AHEAD = timedelta(minutes=5)
"""So far another machine's clock may be ahead of ours."""
USUAL_TIME = timedelta(days=30)


class Statistics:
    """What installations tell. All but `take_turn` blocks."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._rates = Buckets(REPORTS, REPORT_EVERY_S)

    def take_turn(self, caller: Caller) -> float:
        """Count a report of an owner, before it is read: 0, or in how many seconds another one is taken. In one event loop."""
        return self._rates.take(caller.owner, self._clock.monotonic())

    def add(
        self, caller: Caller, installation: str, version: str, since: datetime, until: datetime, tally: Tally
    ) -> bool:
        """Keep a report; whether it replaces one about the same time. Raises InvalidInput and Conflict."""
        now = self._clock.now()
        if until - since > LONGEST:
            raise InvalidInput(
                f"to: the report tells of {(until - since).days} days, more than {LONGEST.days}. Send shorter ones.",
                numbers={"field": "to", "asked": (until - since).days, "limit": LONGEST.days},
            )
        if until > now + AHEAD:
            raise InvalidInput(
                f"to: the report tells of a time to come; it is {now:%Y-%m-%dT%H:%M:%SZ} here. Look at that machine's clock.",
                numbers={"field": "to"},
            )
        if tally.succeeded + tally.failed + tally.cancelled > tally.jobs:
            raise InvalidInput(
                f"usage.jobs: {tally.jobs} are fewer than those that succeeded, failed or were cancelled.",
                numbers={"field": "usage.jobs"},
            )
        report = Report(caller.owner, installation, version, since, until, now, tally)
        return not self._store.add_report(report, caller)

    def summary(
        self, caller: Caller, since: datetime | None, until: datetime | None, owner: str | None
    ) -> ReportSummary:
        """Of times that began in this one, by default in the last 30 days: operators of all owners, others of their own."""
        end = until or self._clock.now()
        first = since or end - USUAL_TIME
        if owner is not None and not caller.sees(owner):
            return ReportSummary()
        return self._store.report_summary(owner if caller.sees_all else caller.owner, first, end)
