"""Samples of readings, and the rules on pressure. Written once a minute a place, so in plain SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from tidegate.core.identity import LOCAL_OWNER, Action, Caller
from tidegate.core.readings import Sample, readings_from
from tidegate.ports import ChangedRules
from tidegate.store.audit import record
from tidegate.store.engine import Statement, Tx
from tidegate.store.schema import pressure_rules, samples
from tidegate.store.shared import word
from tidegate.store.values import from_json, from_micros, to_json, to_micros

MOST = 10_000
_CHANGES = "changes"
_CHANGED = Statement(
    select(pressure_rules.c.changes, pressure_rules.c.changed_at, pressure_rules.c.changed_by).where(
        pressure_rules.c.name == word(_CHANGES)
    )
)


def add_sample(tx: Tx, place: str, sample: Sample) -> None:
    """See `ReadingStore.add_sample`."""
    key = {"place": place[:128], "at": to_micros(sample.at)}
    # PyMySQL writes an enum as its name, which a column of numbers refuses.
    values = {"level": int(sample.level), "readings": to_json(sample.readings.known())}
    same = (samples.c.place == key["place"], samples.c.at == key["at"])
    if not tx.connection.execute(update(samples).where(*same).values(**values)).rowcount:
        known = tx.connection.execute(select(samples.c.at).where(*same)).first()
        if known is None:  # MySQL counts no row that is as it was
            tx.connection.execute(insert(samples).values(**key, **values))


def list_samples(tx: Tx, place: str | None, since: datetime, until: datetime) -> Sequence[tuple[str, Sample]]:
    """See `ReadingStore.samples`."""
    query = select(samples).where(samples.c.at >= to_micros(since), samples.c.at < to_micros(until))
    if place is not None:
        query = query.where(samples.c.place == place)
    rows = tx.connection.execute(query.order_by(samples.c.at, samples.c.place).limit(MOST))
    return [
        (row.place, Sample(from_micros(row.at), readings_from(from_json(row.readings)), row.level))
        for row in rows
    ]


def prune_samples(tx: Tx, before: datetime) -> int:
    """See `ReadingStore.prune_samples`."""
    return tx.connection.execute(delete(samples).where(samples.c.at < to_micros(before))).rowcount


def changed_rules(tx: Tx) -> ChangedRules | None:
    """See `ReadingStore.pressure_rules`."""
    row = tx.one(_CHANGED)
    return None if row is None else ChangedRules(from_json(row[0]), from_micros(row[1]), row[2])


def set_changed_rules(tx: Tx, changes: Mapping[str, Any], at: datetime, by: Caller | None) -> ChangedRules:
    """See `ReadingStore.set_pressure_rules`."""
    owner = LOCAL_OWNER if by is None else by.owner
    values = {"changes": to_json(dict(changes)), "changed_at": to_micros(at), "changed_by": owner}
    tx.connection.execute(delete(pressure_rules).where(pressure_rules.c.name == _CHANGES))
    tx.connection.execute(insert(pressure_rules).values(name=_CHANGES, **values))
    record(tx, by, Action.CHANGE_PRESSURE_RULES, "pressure rules", changes=to_json(dict(changes))[:1000])
    return ChangedRules(dict(changes), at, owner)
