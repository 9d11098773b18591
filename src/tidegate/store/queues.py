"""Queues."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from tidegate.core.identity import Action, Caller
from tidegate.core.plan import QueueView
from tidegate.errors import InvalidInput, NotFound
from tidegate.ports import QueueRecord
from tidegate.store.audit import record
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.schema import queues
from tidegate.store.shared import ensure_queue

NO_CAP = -1
"""Stored for a queue that has no cap of its own and shall not get the default one either."""

_COLUMNS = (
    queues.c.name, queues.c.weight, queues.c.max_concurrent, queues.c.paused, queues.c.waiting, queues.c.running,
)  # fmt: skip
_ALL = Statement(select(*_COLUMNS).order_by(queues.c.name))
_ONE = Statement(select(*_COLUMNS).where(queues.c.name == bindparam("queue")), "queue")
_SET = Statement(
    queues.update()
    .values(weight=bindparam("new_weight"), max_concurrent=bindparam("cap"), paused=bindparam("is_paused"))
    .where(queues.c.name == bindparam("queue")),
    "new_weight cap is_paused queue",
)


def queue_views(tx: Tx, default_cap: int | None) -> dict[str, QueueView]:
    """Queues as the scheduler sees them, with the cap that holds."""
    return {
        name: QueueView(name, running, _cap(cap, default_cap), bool(paused), weight)
        for name, weight, cap, paused, _, running in tx.rows(_ALL)
    }


def all_queues(tx: Tx, default_cap: int | None) -> list[QueueRecord]:
    """See `QueueStore.queues`."""
    return [_record(row, default_cap) for row in tx.rows(_ALL)]


def one_queue(tx: Tx, name: str, default_cap: int | None) -> QueueRecord:
    """See `QueueStore.queue`."""
    row = tx.one(_ONE, (name,))
    if row is None:
        known = ", ".join(row[0] for row in tx.rows(_ALL)[:10]) or "none yet"
        raise NotFound(f"There is no queue {name!r}. Known queues: {known}.")
    return _record(row, default_cap)


def set_queue(
    tx: Tx,
    name: str,
    default_cap: int | None,
    *,
    paused: bool | None,
    max_concurrent: int | None,
    no_cap: bool,
    weight: int | None,
    by: Caller | None = None,
) -> QueueRecord:
    """See `QueueStore.set_queue`."""
    check_queue_settings(name, max_concurrent=max_concurrent, no_cap=no_cap, weight=weight)
    ensure_queue(tx, name)
    row = tx.one(_ONE, (name,))
    assert row is not None
    _, old_weight, old_cap, old_paused, _, _ = row
    cap = NO_CAP if no_cap else old_cap if max_concurrent is None else max_concurrent
    now_paused = old_paused if paused is None else int(paused)
    expect(tx.run(_SET, (old_weight if weight is None else weight, cap, now_paused, name)), 1)
    changes = {"paused": paused, "max_concurrent": max_concurrent, "weight": weight}
    detail = {field: value for field, value in changes.items() if value is not None}
    record(tx, by, Action.CHANGE_QUEUE, f"queue {name}", **detail, **({"no_cap": True} if no_cap else {}))
    return one_queue(tx, name, default_cap)


def check_queue_settings(name: str, *, max_concurrent: int | None, no_cap: bool, weight: int | None) -> None:
    """Raise InvalidInput for settings that no queue can have."""
    if not name or len(name) > 255:
        raise InvalidInput(f"A queue's name must have 1 to 255 characters, not {len(name)}.")
    if max_concurrent is not None and max_concurrent < 1:
        raise InvalidInput(
            f"max_concurrent must be at least 1, not {max_concurrent}. To stop a queue, pause it."
        )
    if no_cap and max_concurrent is not None:
        raise InvalidInput(
            f"A queue has either a cap or none: max_concurrent={max_concurrent} came with no_cap."
        )
    if weight is not None and weight < 1:
        raise InvalidInput(f"weight must be at least 1, not {weight}.")


def _cap(stored: int | None, default_cap: int | None) -> int | None:
    return default_cap if stored is None else None if stored == NO_CAP else stored


def _record(row: Row, default_cap: int | None) -> QueueRecord:
    name, weight, cap, paused, waiting, running = row
    return QueueRecord(name, weight, _cap(cap, default_cap), bool(paused), waiting, running)
