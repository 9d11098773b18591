"""Results that are kept, each under its owner and the digest of all that it depends on, to be those of later tasks.

Written in the transactions of ends and submissions, behind all else but the events (see `dialects.network` on the order of
locks). An owner reads what an attempt of the same owner has made, and nothing else: neither whether nor how fast others have
had the same answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, func, select, tuple_

from tidegate.core.attempt import AttemptEnd
from tidegate.core.job import TaskOrder
from tidegate.core.states import TaskState
from tidegate.store.engine import Row, Statement, Tx
from tidegate.store.schema import kept_results
from tidegate.store.shared import chunks, insert_into
from tidegate.store.values import to_json, to_micros

CACHED = "cached"
"""In a result that was kept: true."""
MOST_BYTES = 64 * 1024
"""Of one result as JSON; a longer one is not kept."""
USED_AGAIN_S = 3600.0
"""A use is noted when the last one is so long ago, since most results are used many times or never."""
_AT_ONCE = 500
_FEW = 8

_ONE = Statement(
    select(kept_results.c.result).where(
        kept_results.c.owner == bindparam("whose"), kept_results.c.digest == bindparam("wanted")
    ),
    "whose wanted",
)
_KEEP = insert_into(kept_results, "owner digest size_bytes used_at result")
_USE = Statement(
    kept_results.update()
    .values(used_at=bindparam("at"))
    .where(
        kept_results.c.owner == bindparam("whose"),
        kept_results.c.digest == bindparam("wanted"),
        kept_results.c.used_at < bindparam("before"),
    ),
    "at whose wanted before",
)


@dataclass(frozen=True, slots=True)
class Known:
    """Which of the tasks to be added have succeeded as soon as they come."""

    owner: str = ""
    digests: frozenset[str] = frozenset()
    count: int = 0

    def has(self, order: TaskOrder) -> bool:
        return order.result is not None or order.digest in self.digests


NOTHING_KNOWN = Known()


def known_of(tx: Tx, owner: str, orders: Iterable[TaskOrder]) -> Known:
    """What is known of these tasks; they are read once."""
    told, wanted = 0, Counter[str]()
    for order in orders:
        if order.result is not None:
            told += 1
        elif order.digest is not None:
            wanted[order.digest] += 1
    there = _there(tx, owner, wanted)
    return Known(owner, there, told + sum(wanted[digest] for digest in there))


def results(tx: Tx, owner: str, digests: Iterable[str | None]) -> dict[str, str]:
    """The results that are kept under these digests, as JSON."""
    wanted = sorted({digest for digest in digests if digest is not None})
    if len(wanted) <= _FEW:  # quicker one by one than through SQLAlchemy
        found = ((digest, tx.one(_ONE, (owner, digest))) for digest in wanted)
        return {digest: row[0] for digest, row in found if row is not None}
    there: dict[str, str] = {}
    for chunk in chunks(wanted, _AT_ONCE):
        query = select(kept_results.c.digest, kept_results.c.result).where(
            kept_results.c.owner == owner, kept_results.c.digest.in_(chunk)
        )
        there.update((digest, result) for digest, result in tx.connection.execute(query))
    return there


def keep(tx: Tx, ends: Sequence[AttemptEnd], owners: Mapping[int, str]) -> None:
    """Keep the results of the ends that have a digest; `owners` by job."""
    made: dict[tuple[str, str], Row] = {}
    for end in ends:
        if end.digest is None or end.result is None or end.next_state is not TaskState.SUCCEEDED:
            continue
        text = to_json({**end.result, CACHED: True})
        if len(text) <= MOST_BYTES:  # it is ASCII
            owner = owners[end.key.job_id]
            made[owner, end.digest] = (owner, end.digest, len(text), to_micros(end.ended_at), text)
    for owner in sorted({owner for owner, _ in made}):
        there = _there(tx, owner, (digest for whose, digest in made if whose == owner))
        new = sorted(digest for whose, digest in made if whose == owner and digest not in there)
        tx.each(_KEEP, [made[owner, digest] for digest in new])


def note_use(tx: Tx, used: Iterable[tuple[str, str]], at: datetime) -> None:
    """These, by owner and digest, were used."""
    now, before = to_micros(at), to_micros(at - timedelta(seconds=USED_AGAIN_S))
    rows: list[Row] = [(now, *one, before) for one in sorted(set(used))]
    tx.many(_USE, rows)


def prune_kept(tx: Tx, before: datetime, most_bytes: int) -> int:
    """Forget some of what has to go; how many, 0 when nothing is left to forget. See `Store.prune_kept`."""
    tx.scan()
    total = int(tx.connection.scalar(select(func.sum(kept_results.c.size_bytes))) or 0)
    oldest = select(
        kept_results.c.owner, kept_results.c.digest, kept_results.c.size_bytes, kept_results.c.used_at
    )
    gone = []
    for owner, digest, size, used_at in tx.connection.execute(
        oldest.order_by(kept_results.c.used_at).limit(_AT_ONCE)
    ):
        if used_at >= to_micros(before) and total <= most_bytes:
            break
        gone.append((owner, digest))
        total -= size
    if gone:
        key = tuple_(kept_results.c.owner, kept_results.c.digest)
        tx.connection.execute(delete(kept_results).where(key.in_(gone)))
    return len(gone)


def _there(tx: Tx, owner: str, digests: Iterable[str]) -> frozenset[str]:
    """Of which of the digests there is a result."""
    wanted = sorted(set(digests))
    if len(wanted) <= _FEW:
        return frozenset(results(tx, owner, wanted))
    found: set[str] = set()
    for chunk in chunks(wanted, _AT_ONCE):
        query = select(kept_results.c.digest).where(
            kept_results.c.owner == owner, kept_results.c.digest.in_(chunk)
        )
        found.update(tx.connection.scalars(query))
    return frozenset(found)
