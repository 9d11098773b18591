"""How allocations end: with their attempt, of a batch with its last one, or later, once the processes are proven gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import ColumnElement, FromClause, Table, and_, bindparam, select

from tidegate.core.attempt import AttemptEnd
from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.schema import allocations, wanted
from tidegate.store.shared import give_back, number
from tidegate.store.values import to_micros


def same(one: FromClause, other: FromClause, *names: str) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


def of_attempt(of: Table) -> tuple[ColumnElement[bool], ...]:
    names = (("job_id", "job"), ("number", "task"), ("attempt", "try"))
    return tuple(of.c[name] == bindparam(param) for name, param in names)


_AMOUNTS = (allocations.c.cpu_milli, allocations.c.memory_bytes, allocations.c.disk_bytes)
_KEY = (allocations.c.job_id, allocations.c.number, allocations.c.attempt)
_IS_KEPT = (allocations.c.released_at.is_(None), allocations.c.kept == number(1))
_WANTED = wanted.join(allocations, same(allocations, wanted, "job_id", "number", "attempt"))

_RELEASE = Statement(
    allocations.update()
    .values(released_at=bindparam("at"), kept=number(0))
    .where(*of_attempt(allocations), allocations.c.released_at.is_(None)),
    "at job task try",
)
_KEEP = Statement(
    allocations.update()
    .values(kept=number(1))
    .where(*of_attempt(allocations), allocations.c.released_at.is_(None)),
    "job task try",
)
_SHARE = Statement(
    allocations.update()
    .values(sharing=bindparam("left"))
    .where(*of_attempt(allocations), allocations.c.sharing == bindparam("was")),
    "left job task try was",
)
_HEADS = Statement(
    select(*_KEY, allocations.c.worker_id, *_AMOUNTS, allocations.c.sharing)
    .select_from(_WANTED)
    .where(allocations.c.released_at.is_(None))
)
_HELD = Statement(select(*_KEY, allocations.c.worker_id, *_AMOUNTS).select_from(_WANTED).where(*_IS_KEPT))
_KEPT_ON = Statement(
    select(*_KEY, allocations.c.worker_id, *_AMOUNTS).where(
        *_IS_KEPT, allocations.c.worker_id == bindparam("worker")
    ),
    "worker",
)


class Holding(NamedTuple):
    """The allocation of an attempt. `head` has the amounts, for an attempt of its batch; `sharing` of a head counts all those
    that have not ended."""

    worker_id: str
    resources: Resources
    head: AttemptKey | None = None
    sharing: int = 1


def end_holdings(
    tx: Tx, ends: Sequence[AttemptEnd], holdings: Mapping[AttemptKey, Holding], *, heard: bool
) -> tuple[list[AttemptEnd], set[AttemptKey]]:
    """Release or keep what these attempts hold. Answers the ends, those of batches with what they `released`, and after which
    of them their sandbox goes on.
    """
    batches = _batches(ends, holdings)
    alone = [end for end in ends if end.key not in batches]
    gone = [(end.key, holdings[end.key], to_micros(end.ended_at)) for end in alone if end.release]
    kept = [end.key for end in alone if not end.release]
    recorded, going_on = list(ends), set[AttemptKey]()
    if batches:
        heads = _heads(tx, set(batches.values()), holdings)
        shares = [_Batch(head, heads[head], [end for end in ends if batches.get(end.key) == head])
                  for head in dict.fromkeys(batches.values())]  # fmt: skip
        tx.each(_SHARE, [(each.left, *each.head, each.holding.sharing) for each in shares])
        for each in shares:
            gone += each.gone(holdings)
            kept += each.kept()
        told = {end.key: end for each in shares for end in each.told()}
        recorded = [told.get(end.key, end) for end in ends]
        going_on = {key for each in shares for key in each.going_on()}
    tx.each(_RELEASE, [(at, *key) for key, _, at in gone])
    tx.each(_KEEP, [tuple(key) for key in kept])
    heard_at = max((to_micros(end.ended_at) for end in ends if end.release), default=0) if heard else None
    give_back(tx, [(holding.worker_id, holding.resources) for _, holding, _ in gone], heard_at)
    return recorded, going_on


def _batches(
    ends: Sequence[AttemptEnd], holdings: Mapping[AttemptKey, Holding]
) -> dict[AttemptKey, AttemptKey]:
    """The heads of those that share an allocation."""
    found: dict[AttemptKey, AttemptKey] = {}
    for end in ends:
        holding = holdings[end.key]
        if holding.head is not None:
            found[end.key] = holding.head
        elif holding.sharing > 1:
            found[end.key] = end.key
    return found


def _heads(
    tx: Tx, heads: set[AttemptKey], holdings: Mapping[AttemptKey, Holding]
) -> dict[AttemptKey, Holding]:
    """What the heads hold, also of those that have ended before."""
    known = {head: holdings[head] for head in heads if head in holdings}
    if len(known) < len(heads):
        tx.want(heads - known.keys())
        for row in tx.rows(_HEADS):
            known[AttemptKey(*row[:3])] = Holding(row[3], Resources(*row[4:7]), None, row[7])
    return known


class _Batch(NamedTuple):
    """Ends of one batch. The last of the batch decides whether its processes are proven gone."""

    head: AttemptKey
    holding: Holding
    ends: Sequence[AttemptEnd]

    @property
    def left(self) -> int:
        return self.holding.sharing - len(self.ends)

    def gone(self, holdings: Mapping[AttemptKey, Holding]) -> list[tuple[AttemptKey, Holding, int]]:
        """What is released and when. The others have nothing of their own that could be kept."""
        others = [
            (end.key, holdings[end.key], to_micros(end.ended_at)) for end in self.ends if end.key != self.head
        ]
        last = self.ends[-1]
        return others + (
            [] if self.left or not last.release else [(self.head, self.holding, to_micros(last.ended_at))]
        )

    def kept(self) -> list[AttemptKey]:
        return [] if self.left or self.ends[-1].release else [self.head]

    def going_on(self) -> list[AttemptKey]:
        """All but the one with which the sandbox ends."""
        return [end.key for end in (self.ends if self.left else self.ends[:-1])]

    def told(self) -> list[AttemptEnd]:
        """The ends, each with whose allocations it released."""
        own = [() if end.key == self.head else (end.key,) for end in self.ends]
        if not self.left and self.ends[-1].release:
            own[-1] = (*own[-1], self.head)
        return [replace(end, released=keys) for end, keys in zip(self.ends, own, strict=True)]


def release(tx: Tx, keys: Sequence[AttemptKey], at: int) -> int:
    """See `AttemptStore.release`."""
    if not keys:
        return 0
    tx.want(set(keys))
    return _release(tx, tx.rows(_HELD), at)


def release_kept(tx: Tx, worker_id: str, at: int) -> int:
    """See `AttemptStore.release_kept`."""
    return _release(tx, tx.rows(_KEPT_ON, (worker_id,)), at)


def _release(tx: Tx, held: Sequence[Row], at: int) -> int:
    rows: list[Row] = [(at, *row[:3]) for row in held]
    tx.each(_RELEASE, rows)
    give_back(tx, [(row[3], Resources(*row[4:])) for row in held])
    return len(rows)
