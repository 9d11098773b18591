"""A store that answers in time or not at all, so that the worker's thread can never be held by a database that hangs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, TypeVar

from tidegate.core.attempt import AttemptEnd, Claimed, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.errors import Unavailable
from tidegate.ports import AttemptStore, BeatAnswer, WorkerInfo

R = TypeVar("R")

ANSWER_SHARE = 1 / 6
"""Of a lease: 10 s of 60 s. A worker that could not renew its lease for 50 s has to end what it runs before 90 s are over, and
a socket whose other side has vanished can hold a call for minutes."""
LEAST_ANSWER_S = 1.0
"""A busy machine may need as long; leases so short that this matters are for tests."""


class BoundedStore:
    """An `AttemptStore` whose calls run on a thread of their own, one at a time.

    A call that takes longer than `answer_s` raises Unavailable, as do the next ones until it is over; what became of it is
    unknown, as after a broken connection. The worker knows how to live with that.
    """

    def __init__(self, store: AttemptStore, answer_s: float) -> None:
        self._store = store
        self._answer_s = answer_s
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._late: Future[Any] | None = None
        # A daemon, since a call that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="tidegate-store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the thread end after the call under way."""
        self._calls.put(None)

    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        return self._ask(lambda: self._store.register(worker, at, lease_s))

    def beat(
        self,
        worker: WorkerInfo,
        generation: int,
        at: datetime,
        lease_s: float,
        running: Collection[AttemptKey],
    ) -> BeatAnswer | None:
        return self._ask(lambda: self._store.beat(worker, generation, at, lease_s, running))

    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        return self._ask(lambda: self._store.unregister(worker_id, generation, at))

    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        return self._ask(lambda: self._store.claim(worker_id, generation, keys, at))

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        return self._ask(lambda: self._store.report(ends))

    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        return self._ask(lambda: self._store.release(keys, at))

    def release_kept(self, worker_id: str, at: datetime) -> int:
        return self._ask(lambda: self._store.release_kept(worker_id, at))

    def unclaimed(self, before: datetime, worker_id: str | None = None) -> list[Start]:
        return self._ask(lambda: self._store.unclaimed(before, worker_id))

    def _ask(self, call: Callable[[], R]) -> R:
        if self._late is not None and not self._late.done():
            raise self._unavailable()
        future: Future[R] = Future()
        self._calls.put((future, call))
        try:
            return future.result(self._answer_s)
        except TimeoutError:
            if future.done():  # the call's own
                raise
            self._late = future
            raise self._unavailable() from None

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            f"The database has not answered for {self._answer_s:g} s. See whether it runs and can be reached.",
            code="database_unavailable",
        )

    def _run(self) -> None:
        while (task := self._calls.get()) is not None:
            future, call = task
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised again by who asked, if he still waits
                future.set_exception(error)
