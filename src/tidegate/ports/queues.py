"""Named lines of waiting jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidegate.core.identity import Caller


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue as stored, with how many of its tasks wait and run."""

    name: str
    weight: int
    max_concurrent: int | None
    paused: bool
    waiting: int
    running: int


class QueueStore(Protocol):
    """Queues. A queue exists from its first use or from `set_queue` on."""

    def queues(self) -> list[QueueRecord]: ...

    def queue(self, name: str) -> QueueRecord:
        """Raises NotFound."""
        ...

    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrent: int | None = None,
        no_cap: bool = False,
        weight: int | None = None,
        by: Caller | None = None,
    ) -> QueueRecord:
        """Create or change; what is None stays."""
        ...
