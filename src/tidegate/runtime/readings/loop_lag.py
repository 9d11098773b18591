"""How late an event loop gets to what is due."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

EVERY_S = 0.1
SMOOTHED_S = 1.0


class LoopLag:
    """`loop_lag_s`: asks a loop ten times a second to be woken, and how late that is, smoothed over a second.

    A loop that is blocked right now is as late as it has been so far.
    """

    def __init__(self) -> None:
        self._due_s: float | None = None
        self._lag_s = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on. To be called on the loop's own thread; ends with the loop."""
        self._due_s = time.monotonic() + EVERY_S
        loop.call_later(EVERY_S, self._woken, loop)

    def read(self) -> Mapping[str, float]:
        due_s = self._due_s
        if due_s is None:
            return {}
        return {"loop_lag_s": max(self._lag_s, time.monotonic() - due_s, 0.0)}

    def _woken(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._due_s is not None
        late_s = max(time.monotonic() - self._due_s, 0.0)
        share = 1.0 - math.exp(-(EVERY_S + late_s) / SMOOTHED_S)
        self._lag_s += (late_s - self._lag_s) * share
        self.watch(loop)
