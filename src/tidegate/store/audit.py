"""The audit trail. Rows are only added, read and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, func, select

from tidegate.core.identity import Action, AuditEntry, Caller, Role, entry
from tidegate.ports import AuditFilter
from tidegate.store import engine, rules
from tidegate.store.engine import Statement, Tx
from tidegate.store.schema import audit
from tidegate.store.shared import by_index, storable
from tidegate.store.values import from_json, from_micros, to_json, to_micros

_FIELDS = "at actor role key_id action object outcome request_id address detail"
# Inline: no database shall be asked for the new id, which nobody needs.
_INSERT = Statement(
    audit.insert().inline().values({name: bindparam(name) for name in _FIELDS.split()}), _FIELDS
)
_AT_ONCE = 1000
_LATEST = timedelta(days=1)
"""So much later a row may be written than what it tells of was begun, such as an upload."""


def add_audit(tx: Tx, entries: Sequence[AuditEntry]) -> None:
    """See `AuditStore.add_audit`; also called inside the transactions that the rows tell of."""
    tx.each(_INSERT, [_row(each) for each in entries])


class Submission:
    """The jobs of one request, for its one row. The busiest row of all, so it is made without detours."""

    __slots__ = ("_by", "_count", "_first", "_kinds", "_last")

    def __init__(self, by: Caller, job_id: int, kind: str) -> None:
        self._by = by
        self._first = self._last = job_id
        self._count = 1
        self._kinds: tuple[str, ...] = (kind,)

    def add(self, job_id: int, kind: str) -> None:
        """One more job of the same request; ids come in order."""
        self._last = job_id
        self._count += 1
        if kind not in self._kinds:
            self._kinds = (*self._kinds, kind)

    def row(self) -> engine.Row:
        by = self._by
        return (
            to_micros(by.at), by.owner, by.role.value, by.key_id, "submit", rules.submitted(self._first, self._last),
            "done", by.request_id, by.address, _submitted(self._count, self._kinds),
        )  # fmt: skip


@lru_cache(maxsize=256)
def _submitted(count: int, kinds: tuple[str, ...]) -> str:
    return to_json(rules.submission_detail(count, kinds))


def add_submissions(tx: Tx, made: Sequence[Submission]) -> None:
    """The rows of requests whose jobs are stored by the same transaction."""
    tx.each(_INSERT, [each.row() for each in made])


def record(tx: Tx, by: Caller | None, action: Action, object: str, **detail: Any) -> None:
    """The row of a write in whose transaction this is; nothing when nobody is named."""
    if by is not None:
        add_audit(tx, [entry(by, action, object, detail=detail)])


def list_audit(tx: Tx, filter: AuditFilter) -> list[AuditEntry]:
    """See `AuditStore.audit`."""
    query = wanted(filter)
    if filter.since is not None:
        query = query.where(audit.c.id >= _first_id(tx, filter.since - _LATEST))
    if filter.until is not None:
        query = query.where(audit.c.id < _first_id(tx, filter.until + _LATEST))
    return [_entry(row) for row in tx.connection.execute(query)]


def _first_id(tx: Tx, at: datetime) -> int:
    """Where what was done at this instant stands, as far as ids grow with time; found by halves, since no index has it."""
    low, end = tx.connection.execute(select(func.min(audit.c.id), func.max(audit.c.id))).one()
    if low is None:
        return 0
    high = end + 1
    while low < high:
        middle = (low + high) // 2
        row = tx.connection.execute(
            select(audit.c.id, audit.c.at).where(audit.c.id >= middle).order_by(audit.c.id).limit(1)
        ).one()
        if row.at < to_micros(at):
            low = row.id + 1
        else:
            high = middle
    return int(low)


def wanted(filter: AuditFilter) -> Select[Any]:
    """The query for these rows."""
    query = select(audit)
    if filter.since is not None:
        query = query.where(audit.c.at >= to_micros(filter.since))
    if filter.until is not None:
        query = query.where(audit.c.at < to_micros(filter.until))
    if filter.actor is not None:
        query = by_index(audit, "audit_actor", query)
    for column, value in (
        (audit.c.actor, filter.actor),
        (audit.c.action, filter.action),
        (audit.c.object, filter.object),
    ):
        if value is not None:
            query = query.where(column == str(value))
    if filter.before_id is not None and storable(filter.before_id):
        query = query.where(audit.c.id < filter.before_id)
    return query.order_by(audit.c.id.desc()).limit(filter.limit)


def prune_audit(tx: Tx, before: datetime) -> int:
    """Forget some of the oldest rows; 0 when none is left that happened before.

    Ids grow with time, so the oldest have the lowest, and no index on the instant is needed.
    """
    oldest = select(audit.c.id, audit.c.at).order_by(audit.c.id).limit(_AT_ONCE)
    old = [row.id for row in tx.connection.execute(oldest) if row.at < to_micros(before)]
    if old:
        tx.connection.execute(delete(audit).where(audit.c.id.in_(old)))
    return len(old)


def _row(each: AuditEntry) -> engine.Row:
    return (
        to_micros(each.at), each.actor, each.role.value, each.key_id, each.action.value, each.object, each.outcome,
        each.request_id, each.address, to_json(each.detail),
    )  # fmt: skip


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id, at=from_micros(row.at), actor=row.actor, role=Role(row.role), key_id=row.key_id,
        action=Action(row.action), object=row.object, outcome=row.outcome, request_id=row.request_id,
        address=row.address, detail=from_json(row.detail),
    )  # fmt: skip
