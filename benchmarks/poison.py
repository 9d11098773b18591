"""A function that waits until the process that watches over it is ended."""

from __future__ import annotations

import os
import signal

import tidegate


@tidegate.function
def wait_for_harm() -> None:
    """Say who watches over this attempt, and wait."""
    print(f"keeper={os.getppid()};", flush=True)
    signal.pause()
