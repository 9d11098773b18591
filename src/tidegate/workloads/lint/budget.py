"""Ends a piece of Python work after so much CPU time, from within."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeUp(BaseException):
    """No Exception, so that no handler of the work takes it for one of its own failures."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the work once this process has used so many seconds of CPU time on it. For the main thread.

    CPU time, because on a full machine a good file may wait for long. Code in C or Rust is not interrupted; it is the
    sandbox's time limit that ends it.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
