"""Crashes of processes and their parts, and the mode that all servers share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from tidegate.core.identity import Action, Caller
from tidegate.core.recovery import Cause, Crash, Mode, SafeMode
from tidegate.store.audit import record
from tidegate.store.engine import Statement, Tx
from tidegate.store.schema import crashes, runs, safe_mode
from tidegate.store.shared import word
from tidegate.store.values import from_json, from_micros, to_json, to_micros, to_micros_or_none

_SERVICE = "service"
"""The one row of the mode."""
_MODE = Statement(
    select(safe_mode.c.version, safe_mode.c.mode, safe_mode.c.state).where(safe_mode.c.name == word(_SERVICE))
)
_CHANGE = Statement(
    safe_mode.update()
    .values(version=bindparam("new_version"), mode=bindparam("new_mode"), state=bindparam("new_state"))
    .where(safe_mode.c.name == word(_SERVICE), safe_mode.c.version == bindparam("seen")),
    "new_version new_mode new_state seen",
)


def begin(tx: Tx, place: str, at: datetime) -> datetime | None:
    """See `RecoveryStore.begin`."""
    began = tx.connection.scalar(select(runs.c.began_at).where(runs.c.place == place))
    row = {"began_at": to_micros(at)}
    if began is None:
        tx.connection.execute(insert(runs).values(place=place, **row))
        return None
    tx.connection.execute(update(runs).values(row).where(runs.c.place == place))
    return from_micros(int(began))


def end(tx: Tx, place: str) -> None:
    """See `RecoveryStore.end`."""
    tx.connection.execute(delete(runs).where(runs.c.place == place))


def add_crash(tx: Tx, crash: Crash) -> None:
    """See `RecoveryStore.add_crash`."""
    row = {"place": crash.place, "part": crash.part, "at": to_micros(crash.at), "what": crash.what[:2000]}
    tx.connection.execute(insert(crashes).inline().values(row))


def list_crashes(tx: Tx, since: datetime) -> list[Crash]:
    """See `RecoveryStore.crashes`."""
    query = (
        select(crashes.c.place, crashes.c.part, crashes.c.at, crashes.c.what)
        .where(crashes.c.at > to_micros(since))
        .order_by(crashes.c.at, crashes.c.id)
    )
    return [
        Crash(place, part, from_micros(at), what) for place, part, at, what in tx.connection.execute(query)
    ]


def prune_crashes(tx: Tx, before: datetime) -> int:
    """See `RecoveryStore.prune_crashes`."""
    return int(tx.connection.execute(delete(crashes).where(crashes.c.at < to_micros(before))).rowcount)


def prune_runs(tx: Tx, before: datetime) -> int:
    """See `RecoveryStore.prune_runs`."""
    return int(tx.connection.execute(delete(runs).where(runs.c.began_at < to_micros(before))).rowcount)


def read_mode(tx: Tx) -> SafeMode:
    """See `RecoveryStore.safe_mode`."""
    row = tx.one(_MODE)
    if row is None:
        return SafeMode()
    version, mode, text = row
    state: dict[str, Any] = from_json(text)
    return SafeMode(
        mode=Mode(mode),
        since=_instant(state["since"]),
        cause=Cause(state["cause"]) if state["cause"] else None,
        message=state["message"],
        numbers=state["numbers"],
        by=state["by"],
        trouble_at=_instant(state["trouble_at"]),
        forgiven_at=_instant(state["forgiven_at"]),
        version=version,
    )


def change_mode(tx: Tx, state: SafeMode, by: Caller | None = None) -> bool:
    """See `RecoveryStore.set_safe_mode`."""
    row = (state.version + 1, state.mode.value, _state_json(state))
    if not tx.run(_CHANGE, (*row, state.version)):
        if state.version or tx.one(_MODE) is not None:
            return False
        values = dict(zip(("version", "mode", "state"), row, strict=True))
        tx.connection.execute(insert(safe_mode).values(name=_SERVICE, **values))
    record(tx, by, Action.SAFE_MODE, "safe mode", mode=state.mode.value, message=state.message[:500])
    return True


def _state_json(state: SafeMode) -> str:
    return to_json(
        {
            "since": to_micros_or_none(state.since),
            "cause": state.cause.value if state.cause else None,
            "message": state.message,
            "numbers": dict(state.numbers),
            "by": state.by,
            "trouble_at": to_micros_or_none(state.trouble_at),
            "forgiven_at": to_micros_or_none(state.forgiven_at),
        }
    )


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
