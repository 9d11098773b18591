"""The keeper's look at a running attempt from time to time: memory, disk, and whether a limit was passed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from tidegate.core.states import ExitReason
from tidegate.runtime.limits.group import Group, GroupUsage
from tidegate.runtime.processes import disk_use_bytes, host_oom_kills
from tidegate.runtime.verdict import Ending

FIRST_LOOK_S = 0.02
_SAMPLE_S = 0.25
_SAMPLE_NEAR_LIMIT_S = 0.1
_NEAR_LIMIT = 0.8
_FAR_OVER_LIMIT = 1.2
_DISK_S = 0.25
MAX_PROCESSES = 512


class Bounds(NamedTuple):
    """What an attempt may use."""

    memory_bytes: int
    disk_bytes: int


class Seen(NamedTuple):
    """What a look saw: whether the tree has to be killed now, and for what, unless the kernel has begun with it."""

    kill: bool = False
    ending: Ending | None = None


class Watch:
    """Samples of one attempt. Short gaps at first, so that short attempts are seen too; then a quarter of a second."""

    def __init__(
        self, group: Group, bounds: Bounds, folders: Sequence[str], *, kernel_holds_memory: bool
    ) -> None:
        self._group = group
        self._bounds = bounds
        self._folders = folders
        self._kernel_holds_memory = kernel_holds_memory
        self._over_limit = 0
        self._oom_baseline: int | None = None
        self._sample_gap = FIRST_LOOK_S
        now = time.monotonic()
        self._sample_at = now + FIRST_LOOK_S
        self._disk_at = now + _DISK_S
        self.peak_memory_bytes = 0

    def next_at(self) -> float:
        """When to look again, on the monotonic clock."""
        return min(self._sample_at, self._disk_at)

    def look(self, now: float) -> Seen:
        """Do what is due."""
        seen = self._sample(now) if now >= self._sample_at else Seen()
        if now >= self._disk_at and not seen.kill:
            seen = self._look_at_disk(now)
        return seen

    def host_kills(self) -> int:
        """Processes that the host's memory killer ended since the first look, anywhere on the machine."""
        return 0 if self._oom_baseline is None else host_oom_kills() - self._oom_baseline

    def _sample(self, now: float) -> Seen:
        usage = self._usage()
        if self._oom_baseline is None:
            self._oom_baseline = host_oom_kills()
        near = usage is not None and usage.memory_bytes > _NEAR_LIMIT * self._bounds.memory_bytes
        self._sample_gap = _SAMPLE_NEAR_LIMIT_S if near else min(self._sample_gap * 2, _SAMPLE_S)
        self._sample_at = now + self._sample_gap
        return Seen() if usage is None else self._judge(usage)

    def _usage(self) -> GroupUsage | None:
        try:
            usage = self._group.usage()
        except OSError:  # the group is gone: somebody outside removed it
            return None
        self.peak_memory_bytes = max(self.peak_memory_bytes, usage.memory_bytes)
        return usage

    def _judge(self, usage: GroupUsage) -> Seen:
        """Where the kernel does not hold the limit: over it twice in a row, or far over it once, ends the attempt.

        Where it does: after a memory kill the rest of the tree is ended too (`memory.oom.group` does it on v2).
        """
        if self._kernel_holds_memory or usage.oom_kills:
            return Seen(kill=usage.oom_kills > 0)
        limit = self._bounds.memory_bytes
        self._over_limit = self._over_limit + 1 if usage.memory_bytes > limit else 0
        if self._over_limit >= 2 or usage.memory_bytes > _FAR_OVER_LIMIT * limit:
            return Seen(True, Ending(ExitReason.MEMORY_LIMIT, observed=usage.memory_bytes))
        if usage.processes is not None and usage.processes > MAX_PROCESSES:
            message = f"The job started {usage.processes} processes; {MAX_PROCESSES} are allowed."
            return Seen(
                True, Ending(ExitReason.ERROR, message, MAX_PROCESSES, usage.processes, "process_limit")
            )
        return Seen()

    def _look_at_disk(self, now: float) -> Seen:
        used = max(map(disk_use_bytes, self._folders))
        took = time.monotonic() - now
        self._disk_at = now + max(_DISK_S, 50 * took)  # a folder of very many files must not keep us busy
        if used > self._bounds.disk_bytes:
            return Seen(True, Ending(ExitReason.DISK_LIMIT, observed=used))
        return Seen()
