"""Ends one attempt in an emergency, waits until that shows, and looks again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from tidegate.core.job import AttemptKey
from tidegate.core.resources import format_bytes
from tidegate.core.victim import SETTLE_S, Candidate, choose
from tidegate.ports import Clock, Overload

log = logging.getLogger("tidegate.pressure")


class Eviction(NamedTuple):
    """The end of an attempt for the machine's sake: the sentence for its exit, and the numbers."""

    key: AttemptKey
    message: str
    limit: int
    """What was reserved for it, in bytes of memory."""
    observed: int
    """What it used."""


class Evicts(Protocol):
    """A worker: what it runs, and how to end it."""

    def candidates(self) -> Iterable[Candidate]: ...

    def evict(self, eviction: Eviction) -> None: ...


class Evictor:
    """Looks after each look at the pressure; ends one while something is short that its end gives back. `tell` hears of it."""

    def __init__(
        self,
        overload: Overload,
        worker: Evicts,
        clock: Clock,
        tell: Callable[[Eviction], None] = lambda eviction: None,
    ) -> None:
        self._overload = overload
        self._worker = worker
        self._clock = clock
        self._tell = tell
        self._settled_s = float("-inf")

    def look(self) -> Eviction | None:
        """End one if the level allows it and the last end has had its time; what was ended."""
        if not self._overload.allowed().evict:
            self._settled_s = float("-inf")  # the pressure fell
            return None
        now_s = self._clock.monotonic()
        if now_s < self._settled_s or not self._overload.is_short():
            return None
        victim = choose(self._worker.candidates())
        if victim is None:
            return None
        self._settled_s = now_s + SETTLE_S
        eviction = _eviction(victim, self._overload)
        log.warning("Attempt %s is ended: %s", victim.key, eviction.message)
        self._worker.evict(eviction)
        self._tell(eviction)
        return eviction


def _eviction(victim: Candidate, overload: Overload) -> Eviction:
    readings = overload.readings()
    felt = {
        "memory used": readings.memory_used_percent,
        "memory stalled": readings.memory_stall_full_percent,
        "disk free": readings.disk_free_percent,
    }
    numbers = ", ".join(f"{name} {value:.1f} %" for name, value in felt.items() if value is not None)
    again = "It will be tried again." if victim.retriable else "It had been lost as often as is allowed."
    message = (
        f"The machine was in an emergency ({numbers}) and the service ended the job to save it: of what runs here it was "
        f"{victim.work}, {'over' if victim.over else 'within'} its request, with {format_bytes(victim.used_bytes)} "
        f"used of {format_bytes(victim.reserved_bytes)}. {again}"
    )
    return Eviction(victim.key, message, victim.reserved_bytes, victim.used_bytes)
