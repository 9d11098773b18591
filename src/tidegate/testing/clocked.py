"""`python -m tidegate.testing.clocked ...`: the command `tidegate` in a process whose time of day is faked.

Debian's libfaketime 0.9.10 answers every `clock_nanosleep` on the monotonic clock with EINVAL when it is told to leave that
clock alone. `time.sleep` uses it, so that whatever sleeps fails: Celery, for one, gives up at its first lost broker.
"""

from __future__ import annotations

import runpy
import select
import time
from typing import SupportsIndex


def mend_sleep() -> None:
    """Have `time.sleep` wait by `select`, which the library lets through, for all that is imported from now on."""
    time.sleep = _sleep


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select((), (), (), float(seconds))


if __name__ == "__main__":
    mend_sleep()
    runpy.run_module("tidegate", run_name="__main__")
