"""The threads for blocking work, counted."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, NamedTuple

from tidegate.errors import ExecutorStopped
from tidegate.runtime.executors.answers import Answer
from tidegate.runtime.executors.calls import Counts, Unfinished, name_of, not_started


class _Call(NamedTuple):
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Answer


class ThreadPool:
    """Runs blocking functions in at most `size` threads, in the order in which they came. Use from any event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="tidegate-io")
        self._lock = threading.Lock()
        self._calls: dict[Future[Any], _Call] = {}
        self._completed = self._failed = self._cancelled = 0
        self._closing = False

    async def run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function answers or raises; it sees the caller's context variables. Raises ExecutorStopped."""
        call = _Call(fn, args, kwargs, Answer())
        future = self._submit(call)
        try:
            return await call.answer.wait()
        finally:
            future.cancel()  # when the wait was given up; one that has begun goes on

    def close(self, grace_s: float) -> list[Unfinished]:
        """Take no more, let what runs finish for a while. Answers what did not.

        A thread cannot be ended: what still runs goes on, and Python waits for it when it exits.
        """
        with self._lock:
            self._closing = True
            calls = dict(self._calls)
        self._threads.shutdown(wait=False)
        unbegun = {future for future in calls if future.cancel()}
        running = wait_for(calls.keys() - unbegun, timeout=grace_s).not_done
        for future in running:
            calls[future].answer.tell(None, _still_running(calls[future].fn, grace_s))
        left = [(future, call) for future, call in calls.items() if future in unbegun | running]
        return [
            Unfinished("io", call.fn, call.args, call.kwargs, begun=future in running)
            for future, call in left
        ]

    def counts(self) -> Counts:
        with self._lock:
            active = sum(future.running() for future in self._calls)
            waiting = len(self._calls) - active
            return Counts(active, waiting, self._completed, self._failed, self._cancelled)

    def _submit(self, call: _Call) -> Future[Any]:
        context = contextvars.copy_context()
        with self._lock:
            if self._closing:
                raise not_started(call.fn)
            future = self._threads.submit(functools.partial(context.run, call.fn, *call.args, **call.kwargs))
            self._calls[future] = call
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Any]) -> None:
        cancelled = future.cancelled()
        error = None if cancelled else future.exception()
        with self._lock:
            call = self._calls.pop(future)
            self._cancelled += cancelled
            self._failed += error is not None
            self._completed += not cancelled and error is None
        if cancelled:
            call.answer.tell(None, not_started(call.fn))
        else:
            call.answer.tell(None if error is not None else future.result(), error)


def _still_running(fn: object, grace_s: float) -> ExecutorStopped:
    return ExecutorStopped(
        f"The executors were closed, and {name_of(fn)} was not done after {grace_s:g} s of grace. Its thread goes on unheard.",
        numbers={"grace_s": grace_s},
    )
