"""Tells the ledger's cache what the store has committed. Nobody who writes to the store waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, cast

from tidegate.core.attempt import AttemptEnd, Claimed, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Plan, Start
from tidegate.errors import Unavailable
from tidegate.ports import LedgerCache, Store, WorkerInfo

log = logging.getLogger("tidegate.cache")

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 2.0
MOST_KEPT = 100_000
"""Changes that wait for the cache. Beyond, they are forgotten, and the cache is told that it missed something."""


class Feed(Protocol):
    """Where commits are told to."""

    def started(self, starts: Sequence[Start]) -> None: ...

    def released(self, keys: Sequence[AttemptKey]) -> None: ...

    def doubt(self) -> None: ...


class LedgerFeed:
    """Carries changes to a cache elsewhere, on a thread of its own. What got lost on the way puts the cache in doubt."""

    def __init__(self, cache: LedgerCache) -> None:
        self._cache = cache
        self._lock = threading.Condition()
        self._changes: list[Start | AttemptKey] = []
        self._missed = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="tidegate-ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._stopped = True
            self._lock.notify()
        self._thread.join()

    def started(self, starts: Sequence[Start]) -> None:
        self._put(starts)

    def released(self, keys: Sequence[AttemptKey]) -> None:
        self._put(keys)

    def doubt(self) -> None:
        with self._lock:
            self._missed = True
            self._lock.notify()

    def _put(self, changes: Sequence[Start | AttemptKey]) -> None:
        with self._lock:
            self._changes += changes
            if len(self._changes) > MOST_KEPT:
                self._changes.clear()
                self._missed = True
            self._lock.notify()

    def _run(self) -> None:
        delay_s = 0.0
        while self._wait(delay_s):
            changes, missed = self._take()
            try:
                self._carry(changes, missed)
                delay_s = 0.0
            except Unavailable as error:
                self.doubt()
                delay_s = min(max(2 * delay_s, FIRST_DELAY_S), LONGEST_DELAY_S)
                log.debug("%s Trying again in %g s.", error, delay_s)
                if self._stopped:
                    return

    def _wait(self, delay_s: float) -> bool:
        with self._lock:
            if delay_s:
                self._lock.wait_for(lambda: self._stopped, delay_s)
            self._lock.wait_for(lambda: self._changes or self._missed or self._stopped)
            return bool(self._changes or self._missed)

    def _take(self) -> tuple[list[Start | AttemptKey], bool]:
        with self._lock:
            changes, self._changes = self._changes, []
            missed, self._missed = self._missed, False
            return changes, missed

    def _carry(self, changes: list[Start | AttemptKey], missed: bool) -> None:
        if missed:
            self._cache.doubt()
        if starts := [change for change in changes if isinstance(change, Start)]:
            self._cache.started(starts)
        if keys := [change for change in changes if isinstance(change, AttemptKey)]:
            self._cache.released(keys)


def fed(store: Store, feed: Feed) -> Store:
    """The store, which also tells the feed of every commit that allocates or releases."""
    return cast(Store, _Fed(store, feed))


class _Fed:
    """Hands everything to the store. What a commit released without saying which is a doubt."""

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, plan: Plan, at: datetime, epoch: int, *, claim: bool = False) -> list[Start]:
        starts = self._store.commit(plan, at, epoch, claim=claim)
        self._feed.started(starts)
        return starts

    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        claimed = self._store.claim(worker_id, generation, keys, at)
        if len(claimed) < len(set(keys)):
            self._feed.doubt()  # a cancelled one was released here
        return claimed

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        return self._ended(self._store.report(ends))

    def end_lost(self, ends: Sequence[AttemptEnd], epoch: int) -> Recorded:
        return self._ended(self._store.end_lost(ends, epoch))

    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        return self._unnamed(self._store.release(keys, at))

    def release_kept(self, worker_id: str, at: datetime) -> int:
        return self._unnamed(self._store.release_kept(worker_id, at))

    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        generation = self._store.register(worker, at, lease_s)
        self._feed.doubt()  # there is more room now
        return generation

    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        left = self._store.unregister(worker_id, generation, at)
        self._feed.doubt()
        return left

    def _ended(self, recorded: Recorded) -> Recorded:
        self._feed.released([key for end in recorded for key in _released(end)])
        return recorded

    def _unnamed(self, count: int) -> int:
        if count:
            self._feed.doubt()
        return count


def _released(end: AttemptEnd) -> Sequence[AttemptKey]:
    """Whose allocations an end has given back."""
    if end.released is not None:
        return end.released
    return [end.key] if end.release else []


__all__ = ["Feed", "LedgerFeed", "fed"]
