"""A place in which one attempt at a time runs, as the server keeps it in mind."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.core.states import ExitReason
from tidegate.runtime.protocol import Channel
from tidegate.runtime.sandbox_messages import SandboxOrder
from tidegate.runtime.zygote_process import ZygoteProcess

_KEPT = 2
_TRIM_AFTER_S = 30.0


class Shape(NamedTuple):
    """What two orders must have in common for a process that was forked ahead of the second one to be of use."""

    runner: str
    resources: Resources
    interactive: bool


def shape_of(order: SandboxOrder) -> Shape:
    return Shape(order.runner, order.resources, order.interactive)


@dataclass(eq=False, slots=True)
class Slot:
    """A keeper as the server sees it. `order` while it is busy; `dead` once its channel has ended."""

    number: int
    channel: Channel
    zygote: ZygoteProcess
    loaded: frozenset[str] = frozenset()
    """What it was forked with beside what every zygote loads; see `OnDemand`."""
    order: SandboxOrder | None = None
    shape: Shape | None = None
    """Of the last order."""
    turns: deque[tuple[AttemptKey, float]] = field(default_factory=deque)
    """What has not ended of the order's attempts, the one that runs first, with their time limits."""
    ended: bool = False
    dead: bool = False
    must_end_at: float | None = None
    idle_since: float = 0.0
    cancelled: tuple[ExitReason, str | None] | None = None


class IdleSlots:
    """Those that wait for an order, the one that began to wait last at the end."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self._slots))

    def add(self, slot: Slot, now: float) -> None:
        slot.idle_since = now
        self._slots.append(slot)

    def discard(self, slot: Slot) -> None:
        if slot in self._slots:
            self._slots.remove(slot)

    def take(self, shape: Shape, modules: frozenset[str]) -> Slot | None:
        """One that has loaded what it takes, if there is one: the last of those with an order of this shape before,
        else the last of all.
        """
        fitting = [slot for slot in self._slots if modules <= slot.loaded]
        if not fitting:
            return None
        slot = max(enumerate(fitting), key=lambda place: (place[1].shape == shape, place[0]))[1]
        self._slots.remove(slot)
        return slot

    def surplus(self, now: float) -> list[Slot]:
        """Those that can be let go: a few are kept, others for a while."""
        return [slot for slot in self._slots[:-_KEPT] if now - slot.idle_since > _TRIM_AFTER_S]
