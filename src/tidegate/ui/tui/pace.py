"""How often a server is asked: often while it answers quickly, seldom while it does not."""

from __future__ import annotations

from tidegate.errors import AccessDenied, TidegateError

FIRST_S = 1.0
LONGEST_S = 30.0
MOST_SHARE = 0.25
"""Of the time, at most so much is spent waiting for answers: a slow server is asked less."""


class Pace:
    """`every_s`: seconds between two looks at a server that answers quickly."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._failures = 0

    def answered(self, took_s: float) -> float:
        """Seconds to wait after an answer that took so long."""
        self._failures = 0
        slow_s = took_s * (1.0 - MOST_SHARE) / MOST_SHARE
        return min(max(self._every_s - took_s, slow_s, 0.0), max(LONGEST_S, self._every_s))

    def failed(self, error: TidegateError) -> float:
        """Seconds to wait after an error: what the server asked for, else twice as long each time; long after a wrong key."""
        self._failures += 1
        told_s = error.numbers.get("retry_after_s")
        if isinstance(told_s, int | float):
            return min(max(float(told_s), FIRST_S), LONGEST_S)
        if isinstance(
            error, AccessDenied
        ):  # a server has no ear for an address of many wrong keys, and others may share it
            return LONGEST_S
        return float(min(FIRST_S * 2 ** (self._failures - 1), LONGEST_S))
