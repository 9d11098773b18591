"""Alerts, silences, and what operators have changed of the rules. Written rarely, so in plain SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Change, Happening, Moment, Silence, acknowledged, told_channels
from tidegate.core.identity import Action, Caller
from tidegate.core.states import JobStatus
from tidegate.errors import NotFound
from tidegate.ports import AlertFilter, RuleChange, RuleChanges, WorkDone
from tidegate.store.audit import record
from tidegate.store.engine import Tx, expect
from tidegate.store.leaders import must_lead
from tidegate.store.notices import add_notices
from tidegate.store.schema import alert_notices, alert_rules, alert_silences, alerts, jobs
from tidegate.store.shared import by_index, storable
from tidegate.store.values import (
    from_json,
    from_micros,
    from_micros_or_none,
    to_json,
    to_micros,
    to_micros_or_none,
)

_AT_ONCE = 500


def open_alerts(tx: Tx) -> list[Alert]:
    """See `AlertStore.open_alerts`."""
    query = select(alerts).where(alerts.c.open_key.is_not(None)).order_by(alerts.c.id)
    return [_alert(row) for row in tx.connection.execute(query)]


def list_alerts(tx: Tx, filter: AlertFilter) -> list[Alert]:
    """See `AlertStore.alerts`."""
    query = select(alerts).where(alerts.c.level >= int(filter.level))
    if filter.state == "resolved":
        query = query.where(alerts.c.open_key.is_(None))
    elif filter.state is not None:
        query = query.where(alerts.c.open_key.is_not(None))
    if filter.state in ("open", "acknowledged"):
        seen = alerts.c.acknowledged_at
        query = query.where(seen.is_(None) if filter.state == "open" else seen.is_not(None))
    if filter.rule is not None:
        query = query.where(alerts.c.rule == filter.rule)
    if filter.before_id is not None and storable(filter.before_id):
        query = query.where(alerts.c.id < filter.before_id)
    return [
        _alert(row) for row in tx.connection.execute(query.order_by(alerts.c.id.desc()).limit(filter.limit))
    ]


def one_alert(tx: Tx, alert_id: int) -> Alert:
    """See `AlertStore.alert`."""
    query = select(alerts).where(alerts.c.id == alert_id)
    row = tx.connection.execute(query).one_or_none() if storable(alert_id) else None
    if row is None:
        raise NotFound(f"There is no alert {alert_id}.")
    return _alert(row)


def record_alerts(
    tx: Tx, changes: Sequence[Change], channels: Mapping[str, Level], epoch: int
) -> list[Alert]:
    """See `AlertStore.record_alerts`."""
    must_lead(tx, epoch)
    stored: list[Alert] = []
    for change in changes:
        alert = _write(tx, change.alert)
        if alert is not None:
            stored.append(alert)
            add_notices(tx, alert, change.tell, told_channels(change.alert, channels))
    return stored


def _write(tx: Tx, alert: Alert) -> Alert | None:
    """As it is now, with its id; None when it was written meanwhile."""
    if alert.version:
        written = replace(alert, version=alert.version + 1)
        return written if _update(tx, written) else None
    known = select(alerts.c.id).where(alerts.c.open_key == alert.open_key)
    if tx.connection.execute(known).first() is not None:
        return None
    written = replace(alert, version=1)
    key = tx.connection.execute(insert(alerts).values(_row(written))).inserted_primary_key
    assert key is not None
    return replace(written, id=int(key[0]))


def _update(tx: Tx, alert: Alert) -> bool:
    """Whether nobody else has written since `alert` was read."""
    same = (alerts.c.id == alert.id, alerts.c.version == alert.version - 1)
    return tx.connection.execute(update(alerts).where(*same).values(_row(alert))).rowcount == 1


def acknowledge_alert(tx: Tx, alert_id: int, at: datetime, by: Caller, note: str) -> Alert:
    """See `AlertStore.acknowledge_alert`."""
    known = one_alert(tx, alert_id)
    seen = acknowledged(known, by.owner, note, at)
    if seen is known:
        return known
    written = replace(seen, version=known.version + 1)
    expect(int(_update(tx, written)), 1)
    record(tx, by, Action.ACKNOWLEDGE_ALERT, f"alert {alert_id}", rule=known.rule, subject=known.subject)
    return written


def silences(tx: Tx, at: datetime | None) -> list[Silence]:
    """See `AlertStore.silences`."""
    query = select(alert_silences).order_by(alert_silences.c.id)
    if at is not None:
        query = query.where(alert_silences.c.ends_at > to_micros(at))
    return [_silence(row) for row in tx.connection.execute(query)]


def add_silence(tx: Tx, silence: Silence, by: Caller) -> Silence:
    """See `AlertStore.add_silence`."""
    values = {
        "rule": silence.rule,
        "subject": silence.subject,
        "created_by": silence.created_by,
        "starts_at": to_micros(silence.starts_at),
        "ends_at": to_micros(silence.ends_at),
        "reason": silence.reason,
    }
    key = tx.connection.execute(insert(alert_silences).values(values)).inserted_primary_key
    assert key is not None
    made = replace(silence, id=int(key[0]))
    record(tx, by, Action.SILENCE_ALERTS, f"silence {made.id}", **made.detail)
    return made


def end_silence(tx: Tx, silence_id: int, at: datetime, by: Caller) -> Silence:
    """See `AlertStore.end_silence`."""
    query = select(alert_silences).where(alert_silences.c.id == silence_id)
    row = tx.connection.execute(query.with_for_update()).one_or_none() if storable(silence_id) else None
    if row is None:
        raise NotFound(f"There is no silence {silence_id}. `tidegate alerts silences` shows those there are.")
    known = _silence(row)
    if known.ends_at <= at:
        return known
    this = alert_silences.c.id == silence_id
    tx.connection.execute(update(alert_silences).where(this).values(ends_at=to_micros(at)))
    record(tx, by, Action.SILENCE_ALERTS, f"silence {silence_id}", ended=True)
    return replace(known, ends_at=at)


def rule_changes(tx: Tx) -> list[RuleChange]:
    """See `AlertStore.rule_changes`."""
    rows = tx.connection.execute(select(alert_rules).order_by(alert_rules.c.rule))
    return [
        RuleChange(row.rule, from_json(row.changes), from_micros(row.changed_at), row.changed_by)
        for row in rows
    ]


def change_rule(tx: Tx, rule: str, changes: RuleChanges | None, at: datetime, by: Caller) -> None:
    """See `AlertStore.change_rule`."""
    this = alert_rules.c.rule == rule
    row = tx.connection.execute(select(alert_rules.c.changes).where(this).with_for_update()).one_or_none()
    tx.connection.execute(delete(alert_rules).where(this))
    if changes is not None:
        merged = {**(from_json(row.changes) if row else {}), **changes}
        values = {
            "rule": rule,
            "changes": to_json(merged),
            "changed_at": to_micros(at),
            "changed_by": by.owner,
        }
        tx.connection.execute(insert(alert_rules).values(values))
    record(tx, by, Action.CHANGE_ALERT_RULE, f"rule {rule}", **(changes or {"defaults": True}))


def work_done(tx: Tx, since: datetime, until: datetime) -> WorkDone:
    """See `AlertStore.work_done`."""
    ran_us = jobs.c.finished_at - jobs.c.started_at
    query = by_index(
        jobs,
        "jobs_finished",
        select(jobs.c.status, func.count(), func.count(jobs.c.started_at), func.sum(ran_us))
        .where(jobs.c.finished_at >= to_micros(since), jobs.c.finished_at < to_micros(until))
        .group_by(jobs.c.status),
    )
    done = WorkDone()
    for status, count, ran, sum_us in tx.connection.execute(query):
        if status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            failed = count if status == JobStatus.FAILED else 0
            done = WorkDone(
                done.ended + count,
                done.failed + failed,
                done.ran + ran,
                done.run_s + float(sum_us or 0) / 1e6,
            )
    return done


def prune_alerts(tx: Tx, before: datetime) -> int:
    """Forget some of those that ended before; 0 when none is left."""
    tx.connection.execute(delete(alert_silences).where(alert_silences.c.ends_at < to_micros(before)))
    old = select(alerts.c.id).where(alerts.c.resolved_at < to_micros(before)).order_by(alerts.c.id)
    ids = list(tx.connection.scalars(old.limit(_AT_ONCE)))
    if ids:
        tx.connection.execute(delete(alert_notices).where(alert_notices.c.alert_id.in_(ids)))
        tx.connection.execute(delete(alerts).where(alerts.c.id.in_(ids)))
    return len(ids)


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule,
        "subject": alert.subject,
        "open_key": alert.open_key,
        "level": int(alert.level),
        "value": alert.value,
        "raised_at": to_micros(alert.raised_at),
        "changed_at": to_micros(alert.changed_at),
        "resolved_at": to_micros_or_none(alert.resolved_at),
        "acknowledged_at": to_micros_or_none(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
        "told_level": int(alert.told_level),
        "told_at": to_micros_or_none(alert.told_at),
        "told_count": alert.told_count,
        "version": alert.version,
        "message": alert.message,
        "moments": to_json([[to_micros(m.at), m.what, int(m.level), m.text, m.by] for m in alert.moments]),
    }


def _alert(row: Row[Any]) -> Alert:
    moments: Any = from_json(row.moments)
    return Alert(
        id=row.id,
        rule=row.rule,
        subject=row.subject,
        level=Level(row.level),
        value=row.value,
        raised_at=from_micros(row.raised_at),
        changed_at=from_micros(row.changed_at),
        resolved_at=from_micros_or_none(row.resolved_at),
        acknowledged_at=from_micros_or_none(row.acknowledged_at),
        acknowledged_by=row.acknowledged_by,
        told_level=Level(row.told_level),
        told_at=from_micros_or_none(row.told_at),
        told_count=row.told_count,
        version=row.version,
        message=row.message,
        moments=tuple(Moment(from_micros(m[0]), Happening(m[1]), Level(m[2]), m[3], m[4]) for m in moments),
    )


def _silence(row: Row[Any]) -> Silence:
    return Silence(
        id=row.id,
        rule=row.rule,
        subject=row.subject,
        reason=row.reason,
        created_by=row.created_by,
        starts_at=from_micros(row.starts_at),
        ends_at=from_micros(row.ends_at),
    )
