"""What the leader knows of workers, and how it takes away what a dead one held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidegate.core.attempt import AttemptEnd, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.membership import Beat


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """A live attempt that its worker holds no more, with what the retry policy needs."""

    key: AttemptKey
    worker_id: str
    generation: int
    max_attempts: int
    losses: int
    put_back: int = 0
    returned: bool = False
    """Whether the worker has registered anew meanwhile; otherwise it left, or was declared dead."""
    kind: str = ""


class RescueStore(Protocol):
    """Workers as the leader watches over them. Each method that writes raises NotLeader like `ScheduleStore.commit`."""

    def beats(self) -> list[Beat]:
        """The last sign of life of each worker that has registered and not left, in order of id."""
        ...

    def declare_dead(self, beat: Beat, at: datetime, epoch: int) -> bool:
        """End the worker's generation: what it held is lost, and it has to register anew.

        False, and nothing is changed, when there has been a sign of life after `beat`.
        """
        ...

    def lost(self) -> list[LostAttempt]:
        """Live attempts whose worker has left, was declared dead, or has another generation by now; in order of key."""
        ...

    def end_lost(self, ends: Sequence[AttemptEnd], epoch: int) -> Recorded:
        """Record the ends of lost attempts as `AttemptStore.report` would; each is released once."""
        ...
