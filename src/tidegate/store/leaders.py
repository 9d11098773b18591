"""The lease of the leading server, and the check that fences off a former leader."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import bindparam, null, select

from tidegate.errors import NotLeader
from tidegate.store.engine import Statement, Tx, expect
from tidegate.store.schema import leader
from tidegate.store.shared import number, word
from tidegate.store.values import to_micros

SCHEDULER = "scheduler"
"""The one row of the table."""

_ROW = leader.c.name == word(SCHEDULER)
_RENEW = Statement(
    leader.update()
    .values(lease_until=bindparam("until"))
    .where(_ROW, leader.c.holder == bindparam("by"), leader.c.lease_until > bindparam("at")),
    "until by at",
)
_TAKE = Statement(
    leader.update()
    .values(epoch=leader.c.epoch + number(1), holder=bindparam("by"), lease_until=bindparam("until"))
    .where(_ROW, leader.c.lease_until <= bindparam("at")),
    "by until at",
)
_SEIZE = Statement(
    leader.update()
    .values(epoch=leader.c.epoch + number(1), holder=bindparam("by"), lease_until=bindparam("until"))
    .where(_ROW),
    "by until",
)
_RESIGN = Statement(
    leader.update()
    .values(holder=null(), lease_until=bindparam("until"))
    .where(_ROW, leader.c.holder == bindparam("by"), leader.c.epoch == bindparam("under")),
    "until by under",
)
_EPOCH = Statement(select(leader.c.epoch).where(_ROW))
_HELD_EPOCH = Statement(select(leader.c.epoch).where(_ROW).with_for_update(read=True))


def lead(tx: Tx, holder: str, at: datetime, lease_s: float) -> int | None:
    """See `LeaderStore.lead`."""
    now, until = to_micros(at), to_micros(at + timedelta(seconds=lease_s))
    if tx.run(_RENEW, (until, holder, now)) or tx.run(_TAKE, (holder, until, now)):
        return _epoch(tx)
    return None


def seize(tx: Tx, holder: str, at: datetime, lease_s: float) -> int:
    """See `LeaderStore.seize`."""
    expect(tx.run(_SEIZE, (holder, to_micros(at + timedelta(seconds=lease_s)))), 1)
    return _epoch(tx)


def resign(tx: Tx, holder: str, epoch: int, at: datetime) -> bool:
    """See `LeaderStore.resign`."""
    return tx.run(_RESIGN, (to_micros(at), holder, epoch)) == 1


def must_lead(tx: Tx, epoch: int) -> None:
    """Raise NotLeader unless `epoch` is the present one, which it stays until this transaction has ended.

    The row is locked for that: whoever takes the lease meanwhile waits for the end of what its former holder began.
    """
    row = tx.one(_HELD_EPOCH)
    assert row is not None
    if row[0] != epoch:
        raise NotLeader(
            f"Another server leads under epoch {row[0]}; nothing that was decided under epoch {epoch} is stored.",
            numbers={"epoch": row[0], "own_epoch": epoch},
        )


def _epoch(tx: Tx) -> int:
    row = tx.one(_EPOCH)
    assert row is not None
    return int(row[0])
