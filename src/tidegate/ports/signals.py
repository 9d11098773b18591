"""Time, and the bell that says that something has happened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol


class Bell(Protocol):
    """Wakes those who wait for something to have happened. A ring may be lost; whoever waits also looks by itself."""

    def ring(self, topic: str) -> None:
        """`schedule` when there may be something to plan, `job:81` when job 81 has changed."""
        ...

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on each ring, from any thread, quickly; the answer ends the subscription."""
        ...


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, for durations."""
        ...
