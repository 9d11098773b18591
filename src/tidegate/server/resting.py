"""Safe mode of one worker of a cluster: while it keeps crashing nothing is started there, and the others go on."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from tidegate.core.identity import Caller
from tidegate.core.recovery import Crash, Mode, SafeMode, left, worker_place
from tidegate.ports import Bell, Clock, Draining, RecoveryStore, WorkerRecord

log = logging.getLogger("tidegate.recovery")


class Workers(RecoveryStore, Protocol):
    """The crashes that all know of, and who is drained."""

    def workers(self) -> list[WorkerRecord]: ...

    def drain(self, worker_id: str, draining: Draining, by: Caller | None = None) -> WorkerRecord: ...


class OneWorker:
    """A `RecoveryStore` for the `Supervisor` of a worker process. Crashes and runs are those of the store, so that alerts and
    operators know of them; the mode is this worker's alone, and ends with its process.

    In safe mode the worker is drained as one that is about to leave. An operator's order to drain it is another thing and
    stays; that it takes starts again ends its safe mode.
    """

    def __init__(self, store: Workers, worker_id: str, clock: Clock, bell: Bell) -> None:
        self._store = store
        self._worker_id = worker_id
        self._clock = clock
        self._bell = bell
        self._state = SafeMode()
        self._generation = 0
        """Under which it was drained."""

    def begin(self, place: str, at: datetime) -> datetime | None:
        return self._store.begin(place, at)

    def end(self, place: str) -> None:
        self._store.end(place)

    def add_crash(self, crash: Crash) -> None:
        self._store.add_crash(crash)

    def crashes(self, since: datetime) -> list[Crash]:
        return [crash for crash in self._store.crashes(since) if crash.place == self.place]

    def prune_crashes(self, before: datetime) -> int:
        return self._store.prune_crashes(before)

    def prune_runs(self, before: datetime) -> int:
        return self._store.prune_runs(before)

    @property
    def place(self) -> str:
        """What the process is called among those that crash."""
        return worker_place(self._worker_id)

    def safe_mode(self) -> SafeMode:
        """The mode. In safe mode the store is asked whether the worker is still drained. Raises Unavailable."""
        if self._state.mode is Mode.SAFE:
            self._stay_drained()
        return self._state

    def set_safe_mode(self, state: SafeMode, by: Caller | None = None) -> bool:
        """Drain the worker, or let it take starts again, and know so then. Raises Unavailable."""
        if state.version != self._state.version:
            return False
        if state.mode is Mode.SAFE:
            self._drain()
        elif self._state.mode is Mode.SAFE and self._is(Draining.LEAVING):
            self._tell(Draining.NO)
        self._state = replace(state, version=state.version + 1)
        return True

    def _stay_drained(self) -> None:
        record = self._record()
        if record is None or record.draining:
            return
        if (
            record.generation != self._generation
        ):  # it has registered again, and a new registration takes starts
            self._drain()
        else:
            log.warning("An operator has worker %s take starts again.", self._worker_id)
            ended = left(self._state, "an operator", self._clock.now())
            self._state = replace(ended, version=self._state.version + 1)

    def _is(self, draining: Draining) -> bool:
        record = self._record()
        return record is not None and record.draining is draining

    def _drain(self) -> None:
        if self._record() is not None:
            self._generation = self._tell(Draining.LEAVING).generation

    def _tell(self, draining: Draining) -> WorkerRecord:
        record = self._store.drain(self._worker_id, draining)
        self._bell.ring("schedule")
        return record

    def _record(self) -> WorkerRecord | None:
        """None before the first registration."""
        return next((record for record in self._store.workers() if record.id == self._worker_id), None)
