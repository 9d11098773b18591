"""Workers as operators see them, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from tidegate.core.identity import Caller
from tidegate.core.job import AttemptKey
from tidegate.core.pressure import Level
from tidegate.core.readings import Readings
from tidegate.core.resources import Resources


class Draining(IntEnum):
    """Whether a worker takes new starts."""

    NO = 0
    LEAVING = 1
    """It is stopping; until it registers again."""
    ORDERED = 2
    """An operator said so; until an operator says otherwise."""


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as stored. `present` is false once it has left; it is listed as long as it holds something."""

    id: str
    hostname: str
    generation: int
    present: bool
    draining: Draining
    registered_at: datetime
    beat_at: datetime
    lease_until: datetime
    capacity: Resources
    allocatable: Resources
    allocated: Resources
    labels: frozenset[tuple[str, str]] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    rungs: tuple[str, ...] = ()
    running: int = 0
    """Attempts that hold something there."""
    stats: Mapping[str, Any] = field(default_factory=dict)
    """As of the last beat; see `WorkerInfo`."""
    level: Level = Level.NORMAL
    """How much pressure it felt at its last beat; a change makes it beat at once."""
    level_since: datetime | None = None
    readings: Readings = field(default_factory=Readings)


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """An attempt that runs (`running`) or is about to, with what its task is."""

    key: AttemptKey
    worker_id: str
    running: bool
    started_at: datetime
    kind: str
    name: str
    owner: str
    queue: str


class Held(NamedTuple):
    """A live allocation: what an attempt holds on a worker."""

    key: AttemptKey
    worker_id: str
    resources: Resources


class WorkerStore(Protocol):
    """Workers, as operators look at them and tell them what to do."""

    def workers(self) -> list[WorkerRecord]:
        """Those that have not left, or still hold something; in order of id."""
        ...

    def drain(self, worker_id: str, draining: Draining, by: Caller | None = None) -> WorkerRecord:
        """Start nothing more there, or again; what runs goes on. Idempotent. Raises NotFound.

        From its return on no start is committed there. LEAVING does not take back what an operator ORDERED.
        """
        ...

    def live(self) -> list[LiveAttempt]:
        """Every attempt that has not ended, in order of its key."""
        ...

    def held(self) -> list[Held]:
        """Every live allocation, in one consistent read."""
        ...
