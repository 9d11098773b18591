"""Keeps the ledger's cache true: read from the store at the start, after any doubt, and from time to time."""

from __future__ import annotations

import logging
from datetime import datetime

from tidegate.core.resources import Resources
from tidegate.errors import Unavailable
from tidegate.ports import Clock, LedgerCache, Rooms, WorkerRoom, WorkerStore

log = logging.getLogger("tidegate.ledger")

REBUILD_S = 30.0
"""How often the cache is read anew though nobody doubts it."""
_TRIES = 3


class KeepLedger:
    """Rebuilds the cache when it is in doubt, at most `interval_s` later, and every `REBUILD_S`."""

    name = "ledger"

    def __init__(
        self, store: WorkerStore, cache: LedgerCache, clock: Clock, *, interval_s: float = 1.0
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._cache = cache
        self._clock = clock
        self._due_s = float("-inf")

    def run_once(self, now: datetime) -> None:
        try:
            if self._clock.monotonic() < self._due_s and self._cache.rooms() is not None:
                return
            for _ in range(_TRIES):
                mark = self._cache.mark()
                if self._cache.rebuild(self._store.held(), offered(self._store), mark):
                    self._due_s = self._clock.monotonic() + REBUILD_S
                    return
        except Unavailable as error:
            log.debug("The ledger's cache is left alone: %s", error)


def offered(store: WorkerStore) -> dict[str, Resources]:
    """What each worker that has not left offers."""
    return {worker.id: worker.allocatable for worker in store.workers() if worker.present}


def rooms_now(cache: LedgerCache | None, store: WorkerStore) -> tuple[Rooms, str]:
    """What is offered and taken, and who said so: `cache`, or `store` while the cache is away or in doubt."""
    try:
        rooms = cache.rooms() if cache is not None else None
    except Unavailable:
        rooms = None
    if rooms is not None:
        return rooms, "cache"
    present = (worker for worker in store.workers() if worker.present)
    return Rooms(0, {one.id: WorkerRoom(one.allocatable, one.allocated) for one in present}), "store"
