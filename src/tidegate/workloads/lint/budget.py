"""Ends a piece of Python work after so much CPU time, from within."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_S = 0.05


class TimeUp(BaseException):
    """No Exception, so that no handler of the work takes it for one of its own failures."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the work once this process has used so many seconds of CPU time on it. For the main thread.

    CPU time, because on a full machine a good file may wait for long. Code in C or Rust is not interrupted; it is the
    sandbox's time limit that ends it. Raised again and again until it comes through: Python drops what is raised in a
    destructor, and SQLFluff what is raised while it calls Rust.
    """
    over = False

    def end(signum: int, frame: FrameType | None) -> None:
        if not over:
            raise TimeUp

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_S)
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
