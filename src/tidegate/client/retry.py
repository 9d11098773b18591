"""When a request is sent again: decisions only, the faces do the waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from tidegate.client.call import Call
from tidegate.client.throttle import Throttle
from tidegate.errors import Busy, ServerUnreachable, TidegateError, Unavailable

T = TypeVar("T")
OnWait = Callable[[float, TidegateError], None]
"""Is told of a pause: its seconds, and what the server said."""

TRIES = 3
PAUSES_S = (0.1, 0.4)
"""Pauses after a broken connection: three tries in all."""
LONGEST_PAUSE_S = 60.0
"""Who is told to come back later than this is told so by an error, unless it was said how long to wait."""
LEAST_PAUSE_S = 0.1
TICKET = "Tidegate-Ticket"
_LINE_IS_FULL = "busy"
"""The code of a refusal that may last for hours: jobs have to end first. Others are over in a moment."""


class Patience(Generic[T]):
    """Carries one call through its tries: says whether to send it, how long to pause before the next try, and what it shows
    then. Two refusals of the server are waited out where sending the call twice is safe, within the budget of `throttle`; a
    full line for `busy_timeout_s` only.
    """

    def __init__(self, call: Call[T], throttle: Throttle) -> None:
        self.call = call
        self._throttle = throttle
        self._pauses = list(PAUSES_S) if call.repeatable else []
        self._refusals_left = TRIES - 1 if call.repeatable else 0
        self._busy_left_s = call.busy_timeout_s
        self._invited = False

    def check(self) -> None:
        """Raise Busy when the call had better not be sent now. What the server has told to come now is sent."""
        if not self._invited and self._throttle.refuses():
            raise Busy(
                "The server has refused most requests of the last two minutes, so this one was not sent. Ask less often, or "
                "look at how the server does with `tidegate top`.",
                retry_after_s=1.0,
            )

    def answered(self, error: TidegateError | None) -> None:
        """Take note of an answer; None: it was no error."""
        refused = isinstance(error, Busy | Unavailable | ServerUnreachable)
        self._throttle.answered(accepted=not refused)

    def pause_after(self, error: TidegateError) -> float | None:
        """Seconds to wait before sending `call`, which may have changed; None: give up and raise."""
        if isinstance(error, ServerUnreachable):
            return self._pauses.pop(0) if self._pauses and self._throttle.may_send_again() else None
        told_s = error.numbers.get("retry_after_s")
        if not isinstance(told_s, int | float):
            return None
        pause_s = self._pause(error, max(float(told_s), LEAST_PAUSE_S))
        if pause_s is not None:
            self._show_ticket(error)
        return pause_s

    def _pause(self, error: TidegateError, pause_s: float) -> float | None:
        if pause_s <= self._busy_left_s:
            self._busy_left_s -= pause_s
            return pause_s
        momentary = (error.problem or {}).get("code", error.code) != _LINE_IS_FULL
        if not momentary or not self._refusals_left or pause_s > LONGEST_PAUSE_S:
            return None
        if not self._throttle.may_send_again():
            return None
        self._refusals_left -= 1
        return pause_s

    def _show_ticket(self, error: TidegateError) -> None:
        self._invited = True
        ticket = (error.problem or {}).get("ticket")
        if isinstance(ticket, str):
            self.call = replace(self.call, headers={**self.call.headers, TICKET: ticket})


def wait_silently(pause_s: float, error: TidegateError) -> None:
    """What a client does about a pause unless told otherwise."""
