"""A function beside which its keeper is ended, and an honest one."""

from __future__ import annotations

import os
import signal

import tidegate


@tidegate.function
def wait_for_harm() -> None:
    """Say who watches over this attempt, and wait until that is ended."""
    print(f"keeper={os.getppid()};", flush=True)
    signal.pause()


@tidegate.function
def work(number: int) -> int:
    """An honest job."""
    return sum(i * i for i in range(number))
