"""From other threads into the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """Have the loop call a function soon. Safe from any thread, also once the loop has ended."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return  # the loop has ended with its last request: nobody listens any more
