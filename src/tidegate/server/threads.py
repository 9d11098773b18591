"""Threads for blocking calls that can say how they do."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, Protocol, TypeVar

from tidegate.ports import ExecutorStats
from tidegate.server.sojourn import Sojourn

P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    """Has a thread make a blocking call, such as one of the store's, and awaits its answer."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


class CountedThreads(ThreadPoolExecutor):
    """A pool of `size` threads whose calls are counted. A call costs a few microseconds more for it. `sojourn` hears how
    long calls wait for a thread."""

    def __init__(self, size: int, name: str, sojourn: Sojourn | None = None) -> None:
        super().__init__(size, thread_name_prefix=name)
        self._size = size
        self._sojourn = sojourn or Sojourn()
        self._count = threading.Lock()
        self._submitted = self._begun = self._completed = self._failed = self._cancelled = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        since_s = self._line_up()
        future = super().submit(self._counted, since_s, fn, args, kwargs)
        with self._count:
            self._submitted += 1
        future.add_done_callback(functools.partial(self._note_cancelled, since_s))
        return future

    def stats(self) -> ExecutorStats:
        """Calls that run, wait, and ended. Never waits for a call."""
        with self._count:
            active = self._begun - self._completed - self._failed
            queued = max(self._submitted - self._begun - self._cancelled, 0)
            return ExecutorStats(self._size, active, queued, self._completed, self._failed, self._cancelled)

    def _line_up(self) -> float | None:
        """Since when a call waits that comes now; None when a thread is free for it."""
        with self._count:
            ended = self._completed + self._failed + self._cancelled
            free = self._submitted - ended < self._size
        if free:
            self._sojourn.found_free()
            return None
        return self._sojourn.joined()

    def _counted(self, since_s: float | None, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        with self._count:
            self._begun += 1
        if since_s is not None:
            self._sojourn.ended(since_s)
        well = False
        try:
            result = fn(*args, **kwargs)
            well = True
        finally:
            with self._count:
                self._completed += well
                self._failed += not well
        return result

    def _note_cancelled(self, since_s: float | None, future: Future[Any]) -> None:
        if future.cancelled():
            with self._count:
                self._cancelled += 1
            if since_s is not None:
                self._sojourn.given_up(since_s)
