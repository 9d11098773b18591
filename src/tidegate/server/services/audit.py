"""Recounts the ledger; a service whose books do not add up goes into safe mode."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from tidegate.core.recovery import Cause, Mode
from tidegate.errors import LedgerError
from tidegate.server.supervisor import Supervisor

INTERVAL_S = 60.0
EVERY = 10
"""The ledger is recounted each so many turns; in safe mode at each, so that five minutes of health are seen as such."""


class Books(Protocol):
    """What can be recounted: a store."""

    def check(self) -> None: ...


class AuditLedger:
    """A duty of the leader."""

    name = "audit"
    interval_s = INTERVAL_S

    def __init__(self, store: Books, supervisor: Supervisor) -> None:
        self._store = store
        self._supervisor = supervisor
        self._turn = -1

    def run_once(self, now: datetime) -> None:
        self._turn += 1
        if self._turn % EVERY and self._supervisor.state.mode is Mode.NORMAL:
            return
        try:
            self._store.check()
        except LedgerError as error:
            self._supervisor.fault_found(Cause.LEDGER, error.message, dict(error.numbers))
