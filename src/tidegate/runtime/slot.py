"""A place in which one attempt at a time runs, as the server keeps it in mind."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tidegate.core.job import AttemptKey, ExitReason
from tidegate.runtime.protocol import Channel
from tidegate.runtime.sandbox_messages import SandboxOrder
from tidegate.runtime.zygote_process import ZygoteProcess


@dataclass(eq=False, slots=True)
class Slot:
    """A keeper as the server sees it. `order` while it is busy; `dead` once its channel has ended."""

    number: int
    channel: Channel
    zygote: ZygoteProcess
    loaded: frozenset[str] = frozenset()
    """What it was forked with beside what every zygote loads; see `OnDemand`."""
    order: SandboxOrder | None = None
    turns: deque[tuple[AttemptKey, float]] = field(default_factory=deque)
    """What has not ended of the order's attempts, the one that runs first, with their time limits."""
    ended: bool = False
    dead: bool = False
    must_end_at: float | None = None
    idle_since: float = 0.0
    cancelled: tuple[ExitReason, str | None] | None = None
