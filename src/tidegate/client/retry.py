"""When a request is sent again: decisions only, the faces do the waiting."""

from __future__ import annotations

from typing import Any

from tidegate.client.calls import Call
from tidegate.errors import Busy, ServerUnreachable, TidegateError

PAUSES_S = (0.1, 0.4)
"""Pauses after a broken connection: three tries in all."""


class Patience:
    """Remembers how often one call has failed and says how long to pause before the next try."""

    def __init__(self, call: Call[Any]) -> None:
        self._pauses = list(PAUSES_S) if call.repeatable else []
        self._busy_left_s = call.busy_timeout_s

    def pause_after(self, error: TidegateError) -> float | None:
        """Seconds to wait before sending the call again; None: give up and raise."""
        if isinstance(error, Busy):
            return self._wait_for_room(max(error.retry_after_s, 0.1))
        if isinstance(error, ServerUnreachable) and self._pauses:
            return self._pauses.pop(0)
        return None

    def _wait_for_room(self, pause_s: float) -> float | None:
        if pause_s > self._busy_left_s:
            return None
        self._busy_left_s -= pause_s
        return pause_s
