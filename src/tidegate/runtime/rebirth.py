"""When a worker's zygote is begun again after it has ended by itself, and what waits for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.core.attempt import Assignment
from tidegate.core.job import AttemptKey
from tidegate.errors import Unavailable

Crashed = Callable[[str, str], float]
"""Hears that a part has crashed, and what happened; for how many seconds to wait before it is begun again."""


class Rebirth:
    """Owned by the worker's thread. `reopen` starts a zygote; it raises Unavailable when that does not become ready.

    While there is none, what is to be started waits here: its resources are allocated, so nothing else would take its place.
    """

    def __init__(self, reopen: Callable[[], None], now_s: Callable[[], float]) -> None:
        self._reopen = reopen
        self._now_s = now_s
        self._waiting: list[Sequence[Assignment]] = []
        self.due_s = float("inf")
        """When it is begun again, while it is away."""
        self.crashed: Crashed = lambda part, what: 0.0

    @property
    def away(self) -> bool:
        return self.due_s < float("inf")

    def died(self, what: str) -> None:
        """The zygote has ended by itself, or stood still; `what` was seen."""
        self._later(what)

    def wait(self, batch: Sequence[Assignment]) -> None:
        """Start this when there is a zygote again."""
        self._waiting.append(batch)

    def drop(self, sandbox: AttemptKey) -> Sequence[Assignment]:
        """What waits to be started in this sandbox, and does so no longer; empty when it does not wait."""
        found = next((batch for batch in self._waiting if batch[0].key == sandbox), None)
        if found is None:
            return ()
        self._waiting.remove(found)
        return found

    def tend(self) -> list[Sequence[Assignment]]:
        """Begin it again when it is time; what can be started then."""
        if self._now_s() < self.due_s:
            return []
        self.due_s = float("inf")
        try:
            self._reopen()
        except Unavailable as error:
            if not self.away:  # it lives, and does not become ready
                self._later(error.message)
            return []
        ready, self._waiting = self._waiting, []
        return ready

    def _later(self, what: str) -> None:
        self.due_s = self._now_s() + self.crashed("zygote", what)
