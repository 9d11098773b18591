"""What this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.core.resources import Resources


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of the machine and where it comes from, such as `cgroup v1 memory.limit_in_bytes of /a/b`."""

    value: int
    source: str


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """Of threads or processes that do calls: how many run at most at once (None: as many as there is room for), run and wait
    now, and ended since the start."""

    size: int | None
    active: int
    queued: int
    completed: int
    failed: int
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Connections of a database engine: kept open at most, in use now, how many of these are beyond that, and how many may
    be beyond."""

    engine: str
    size: int
    checked_out: int
    overflow: int
    max_overflow: int

    @property
    def usage_percent(self) -> float:
        """In use, of all there may be; 0 to 100."""
        return round(100 * self.checked_out / (self.size + self.max_overflow), 1)


class Host(Protocol):
    """How this machine does at the moment."""

    def system(self) -> Mapping[str, Any]:
        """`cpu`, `memory`, `disk`, `nfs_storage` (None without a shared path), `network`, `process`; cheap to ask often."""
        ...


class Probe(Protocol):
    """Capacity of this machine or container."""

    def capacity(self) -> Resources: ...

    def origins(self) -> Mapping[str, Reading]:
        """`cpu_milli`, `memory_bytes`, `disk_bytes`: the figure and where it comes from."""
        ...
