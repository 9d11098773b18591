"""A function that waits until the process that watches over it is ended."""

from __future__ import annotations

import signal

import tidegate


@tidegate.function
def wait_for_harm() -> None:
    """Nothing else is done by it: whoever watches over this attempt is killed from outside."""
    signal.pause()
