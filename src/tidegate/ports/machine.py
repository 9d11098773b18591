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
