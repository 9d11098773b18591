"""API keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, or_, select

from tidegate.core.identity import Action, Caller, KeyRecord, Role
from tidegate.errors import Conflict, NotFound
from tidegate.store import engine
from tidegate.store.audit import record
from tidegate.store.engine import Statement, Tx, expect
from tidegate.store.schema import keys
from tidegate.store.shared import insert_into
from tidegate.store.values import from_micros, from_micros_or_none, to_micros, to_micros_or_none

_INSERT = insert_into(keys, "id digest owner role name created_at created_by expires_at")
_KNOWN = Statement(select(keys.c.id).where(keys.c.id == bindparam("key")), "key")
_REVOKE = Statement(
    keys.update()
    .values(revoked_at=bindparam("at"), revoked_by=bindparam("revoker"))
    .where(keys.c.id == bindparam("key"), keys.c.revoked_at.is_(None)),
    "at revoker key",
)
_TOUCH = Statement(
    keys.update()
    .values(last_used_at=bindparam("used_at"))
    .where(
        keys.c.id == bindparam("key"),
        or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < bindparam("new_at")),
    ),
    "used_at key new_at",
)


def add_key(tx: Tx, key: KeyRecord, by: Caller | None) -> None:
    """See `KeyStore.add_key`."""
    if tx.one(_KNOWN, (key.id,)) is not None:
        raise Conflict(f"There is a key {key.id} already.")
    tx.run(_INSERT, _row(key))
    record(tx, by, Action.CREATE_KEY, f"key {key.id}", owner=key.owner, role=key.role.value, name=key.name)


def all_keys(tx: Tx) -> list[KeyRecord]:
    """See `KeyStore.keys`."""
    rows = tx.connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id))
    return [_record(row) for row in rows]


def revoke_key(tx: Tx, key_id: str, at: datetime, by: Caller | None) -> KeyRecord:
    """See `KeyStore.revoke_key`."""
    row = tx.connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no key {key_id!r:.60}. `tidegate key list` shows those there are.")
    known = _record(row)
    if known.revoked_at is not None:
        return known
    revoker = by.owner if by is not None else known.created_by
    expect(tx.run(_REVOKE, (to_micros(at), revoker, key_id)), 1)
    record(tx, by, Action.REVOKE_KEY, f"key {key_id}", owner=known.owner)
    return replace(known, revoked_at=at, revoked_by=revoker)


def touch_keys(tx: Tx, used: Mapping[str, datetime]) -> None:
    """See `KeyStore.touch_keys`."""
    tx.many(_TOUCH, [(to_micros(at), key_id, to_micros(at)) for key_id, at in sorted(used.items())])


def _row(key: KeyRecord) -> engine.Row:
    return (
        key.id, key.digest, key.owner, key.role.value, key.name, to_micros(key.created_at), key.created_by,
        to_micros_or_none(key.expires_at),
    )  # fmt: skip


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id, digest=row.digest, owner=row.owner, role=Role(row.role), name=row.name,
        created_at=from_micros(row.created_at), created_by=row.created_by,
        expires_at=from_micros_or_none(row.expires_at), last_used_at=from_micros_or_none(row.last_used_at),
        revoked_at=from_micros_or_none(row.revoked_at), revoked_by=row.revoked_by,
    )  # fmt: skip
