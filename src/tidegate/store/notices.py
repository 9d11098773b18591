"""Messages of alerts on their way to channels, and how the channels do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Row, insert, select, update

from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Happening
from tidegate.ports import ChannelState, Notice
from tidegate.store.engine import Tx
from tidegate.store.schema import alert_channels, alert_notices, alerts
from tidegate.store.values import from_micros, from_micros_or_none, to_micros, to_micros_or_none

_ALL = select(alert_notices, alerts.c.rule, alerts.c.subject, alerts.c.raised_at).join(
    alerts, alerts.c.id == alert_notices.c.alert_id
)


def add_notices(tx: Tx, alert: Alert, what: Happening | None, channels: Iterable[str]) -> None:
    """A message for each channel, due at once; none without something to tell."""
    if what is None or alert.told_at is None:
        return
    at = to_micros(alert.told_at)
    for channel in channels:
        values = {
            "alert_id": alert.id, "number": alert.told_count, "channel": channel, "what": what,
            "level": int(Level.INFO if what is Happening.RESOLVED else alert.level), "at": at, "state": "waiting",
            "due_at": at, "tries": 0, "value": alert.value, "text": alert.message,
        }  # fmt: skip
        tx.connection.execute(insert(alert_notices).values(values))


def notices(tx: Tx, alert_id: int) -> list[Notice]:
    """See `AlertStore.notices`."""
    query = _ALL.where(alert_notices.c.alert_id == alert_id)
    rows = tx.connection.execute(query.order_by(alert_notices.c.number, alert_notices.c.channel))
    return [_notice(row) for row in rows]


def claim_notice(tx: Tx, channel: str, at: datetime, until: datetime) -> Notice | None:
    """See `AlertStore.claim_notice`."""
    now, earlier = to_micros(at), alert_notices.alias()
    unsent_before = select(earlier.c.number).where(
        earlier.c.alert_id == alert_notices.c.alert_id,
        earlier.c.channel == alert_notices.c.channel,
        earlier.c.number < alert_notices.c.number,
        earlier.c.due_at.is_not(None),
    )
    due = (
        _ALL.where(alert_notices.c.channel == channel, alert_notices.c.due_at <= now, ~unsent_before.exists())
        .order_by(alert_notices.c.due_at, alert_notices.c.alert_id, alert_notices.c.number)
        .limit(1)
    )
    row = tx.connection.execute(due).one_or_none()
    if row is None:
        return None
    found = _notice(row)
    taken = {"state": "sending", "due_at": to_micros(until), "tries": found.tries + 1}
    # Two servers may see the same one; the number of the try tells who was first.
    if not _update(tx, found, taken):
        return None
    return replace(found, state="sending", tries=found.tries + 1)


def end_notice(tx: Tx, notice: Notice, at: datetime, error: str | None, again_at: datetime | None) -> bool:
    """See `AlertStore.end_notice`."""
    state = "sent" if error is None else "given_up" if again_at is None else "waiting"
    values = {
        "state": state,
        "due_at": to_micros_or_none(again_at) if error is not None else None,
        "ended_at": to_micros(at) if state != "waiting" else None,
        "error": error,
    }
    note_channel(tx, notice.channel, at, error)
    return _update(tx, notice, values)


def _update(tx: Tx, notice: Notice, values: dict[str, Any]) -> bool:
    """Whether the notice is still at the try that is known of it."""
    same = (
        alert_notices.c.alert_id == notice.alert_id,
        alert_notices.c.number == notice.number,
        alert_notices.c.channel == notice.channel,
        alert_notices.c.tries == notice.tries,
        alert_notices.c.due_at.is_not(None),
    )
    return tx.connection.execute(update(alert_notices).where(*same).values(values)).rowcount == 1


def channel_states(tx: Tx) -> list[ChannelState]:
    """See `AlertStore.channel_states`."""
    rows = tx.connection.execute(select(alert_channels).order_by(alert_channels.c.name))
    return [
        ChannelState(
            row.name,
            row.failures,
            from_micros_or_none(row.worked_at),
            from_micros_or_none(row.failed_at),
            row.error,
        )
        for row in rows
    ]


def note_channel(tx: Tx, name: str, at: datetime, error: str | None) -> None:
    """See `AlertStore.note_channel`."""
    now = to_micros(at)
    if error is None:
        values: dict[str, Any] = {"failures": 0, "worked_at": now, "error": None}
    else:
        values = {"failures": alert_channels.c.failures + 1, "failed_at": now, "error": error}
    this = alert_channels.c.name == name
    if tx.connection.execute(update(alert_channels).where(this).values(values)).rowcount:
        return
    first = {**values, "name": name, "failures": 0 if error is None else 1}
    tx.connection.execute(insert(alert_channels).values(first))


def _notice(row: Row[Any]) -> Notice:
    return Notice(
        alert_id=row.alert_id,
        number=row.number,
        channel=row.channel,
        what=Happening(row.what),
        level=Level(row.level),
        rule=row.rule,
        subject=row.subject,
        text=row.text,
        value=row.value,
        raised_at=from_micros(row.raised_at),
        at=from_micros(row.at),
        tries=row.tries,
        state=cast(Any, row.state),
        error=row.error,
        ended_at=from_micros_or_none(row.ended_at),
    )
