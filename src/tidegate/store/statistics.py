"""Reports of other installations. Rare, so in plain SQLAlchemy Core."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, insert, select

from tidegate.core.identity import Action, Caller
from tidegate.core.usage import Tally
from tidegate.errors import Conflict
from tidegate.ports import Report, ReportSummary
from tidegate.store.audit import record
from tidegate.store.engine import Tx
from tidegate.store.schema import statistics
from tidegate.store.usage import read_tally
from tidegate.store.values import from_micros, to_micros

_SECONDS = "%Y-%m-%dT%H:%M:%SZ"
_TOLD = tuple(name for name in Tally._fields if name in statistics.c)


def add_report(tx: Tx, report: Report, by: Caller | None = None) -> bool:
    """See `StatisticsStore.add_report`."""
    since, until = to_micros(report.since), to_micros(report.until)
    same = (statistics.c.owner == report.owner, statistics.c.installation == report.installation)
    there = select(statistics.c.since, statistics.c.until).where(
        *same, statistics.c.since < until, statistics.c.until > since
    )
    found = [tuple(row) for row in tx.connection.execute(there.with_for_update() if tx.locks else there)]
    if any(times != (since, until) for times in found):
        raise overlap(report, *map(from_micros, next(times for times in found if times != (since, until))))
    if found:
        tx.connection.execute(delete(statistics).where(*same, statistics.c.since == since))
    row = {"owner": report.owner, "installation": report.installation, "since": since, "until": until}
    row |= {"received_at": to_micros(report.received_at), "version": report.version}
    told = report.tally._asdict()
    tx.connection.execute(insert(statistics).values(row | {name: told[name] for name in _TOLD}))
    record(tx, by, Action.REPORT_USAGE, f"installation {report.installation}", **told_of(report))
    return not found


def told_of(report: Report) -> dict[str, str]:
    """What the audit trail says of a report."""
    return {"from": f"{report.since:{_SECONDS}}", "to": f"{report.until:{_SECONDS}}"}


def overlap(report: Report, since: datetime, until: datetime) -> Conflict:
    """The report tells in part of what was told before."""
    there, asked = (
        (f"{a:{_SECONDS}}", f"{b:{_SECONDS}}") for a, b in ((since, until), (report.since, report.until))
    )
    return Conflict(
        f"Installation {report.installation!r} has told of {there[0]} to {there[1]}, and {asked[0]} to {asked[1]} is in part "
        "the same time. Send the same `from` and `to` to replace that report, or a time that begins after it."
    )


def summary(tx: Tx, owner: str | None, since: datetime, until: datetime) -> ReportSummary:
    """See `StatisticsStore.report_summary`."""
    which: list[ColumnElement[bool]] = [
        statistics.c.since >= to_micros(since),
        statistics.c.since < to_micros(until),
    ]
    if owner is not None:
        which.append(statistics.c.owner == owner)
    sums = (func.sum(statistics.c[name]) for name in _TOLD)
    query = select(func.count(), func.min(statistics.c.since), func.max(statistics.c.until), *sums).where(
        *which
    )
    reports, first, last, *values = tx.connection.execute(query).one()
    if not reports:
        return ReportSummary()
    said = select(statistics.c.owner, statistics.c.installation, statistics.c.version).where(*which)
    newest = {(row[0], row[1]): row[2] for row in tx.connection.execute(said.order_by(statistics.c.since))}
    return ReportSummary(
        len(newest),
        reports,
        from_micros(first),
        from_micros(last),
        read_tally(_TOLD, values),
        Counter(newest.values()),
    )


def prune_reports(tx: Tx, before: datetime) -> int:
    """See `StatisticsStore.prune_reports`."""
    return tx.connection.execute(delete(statistics).where(statistics.c.until < to_micros(before))).rowcount
