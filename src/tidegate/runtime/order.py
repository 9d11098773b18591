"""What the server asks for, as keeper and attempt carry it out."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.runtime.limits.group import GroupLimits, Rung
from tidegate.runtime.limits.landlock import Confinement
from tidegate.runtime.rehearsal import Stretch
from tidegate.runtime.turns import turns_of
from tidegate.runtime.watch import MAX_PROCESSES, Bounds

LEAST_MEMORY_BYTES = 32 * 1024 * 1024
"""An attempt that asks for less gets this: a forked interpreter alone takes some of it."""
LEAST_DISK_BYTES = 64 * 1024 * 1024
"""Likewise for scratch disk, so that small results can always be written."""


class World(NamedTuple):
    """What all keepers of a zygote share."""

    generation: str
    rung: Rung
    yield_cpu: str
    confinement: Confinement | None
    ahead_s: float
    """How long a process that was forked ahead of an order waits for one; 0 for none."""
    usual_pages: dict[str, Sequence[Stretch]]
    """By the module of a runner: what its attempts write of what they share with the zygote."""


class Order:
    """One attempt, or a batch of them that run one after another."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.message = message
        """As it came, and as it travels on."""
        self.key = AttemptKey(*message["key"])
        self.turns = turns_of(message)
        self.runner = str(message["runner"])
        self.module = self.runner.partition(":")[0]
        self.resources = Resources(*message["resources"])
        self.interactive = bool(message.get("interactive"))
        self.expands = bool(message.get("expands"))
        self.folder = str(message["folder"])
        self.staging = f"{_real_path(os.path.dirname(self.folder))}/{os.path.basename(self.folder)}/staging"
        self.hand_over: str | None = message.get("hand_over")
        self.bounds = Bounds(
            max(self.resources.memory_bytes, LEAST_MEMORY_BYTES),
            max(self.resources.disk_bytes, LEAST_DISK_BYTES),
        )

    def limits(self) -> GroupLimits:
        return GroupLimits(
            self.bounds.memory_bytes, self.resources.cpu_milli, MAX_PROCESSES, self.interactive
        )

    @property
    def writable(self) -> list[str]:
        """The folders that the attempt writes to. Its disk limit holds for each: they lie on different disks."""
        return [self.staging] if self.hand_over is None else [self.staging, self.hand_over]

    def make_folders(self) -> None:
        """Where the server has not made them. Raises OSError."""
        try:
            os.mkdir(self.staging, 0o700)
        except FileExistsError:
            return
        except FileNotFoundError:
            os.makedirs(self.folder)
            os.mkdir(self.staging, 0o700)


@functools.lru_cache(maxsize=4)
def _real_path(folder: str) -> str:
    """Of the folder that all attempts of a server are below: looked up once."""
    return os.path.realpath(folder)
