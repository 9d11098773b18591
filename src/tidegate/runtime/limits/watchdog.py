"""Without control groups: the keeper itself watches the tree below it and ends it.

The tree is everything below the keeper, which is a subreaper and runs one attempt at a time: no process can leave it,
whatever session or group it moves to. The kernel enforces nothing here but the per-process limits of `rlimits`.
"""

from __future__ import annotations

import contextlib
import os
import signal

from tidegate.runtime.limits.group import Group, GroupLimits, GroupUsage
from tidegate.runtime.processes import descendants_of, memory_of, proportional_memory_of, send_signal

_LOOK_CLOSER = 0.6
"""Share of the limit above which shared pages are divided among the processes that map them."""


class WatchdogGroup:
    """The processes below this one."""

    def __init__(self, name: str, limits: GroupLimits) -> None:
        self.name = name
        self._limits = limits
        self._inherited_bytes = memory_of("self").anonymous_bytes

    def join(self) -> None:
        return

    def stat_fd(self) -> int | None:
        return None

    def final_usage(self) -> GroupUsage:
        return GroupUsage(0)

    def renew(self) -> bool:
        return False

    def usage(self) -> GroupUsage:
        """Sum over the tree; what the first process inherited from the zygote by fork is not the attempt's own.

        Resident memory is quick to read but counts pages shared by fork once per process. So with several processes,
        or near the limit, the kernel is asked to divide shared pages.
        """
        pids = descendants_of([os.getpid()])
        if len(pids) > self._limits.processes:
            return GroupUsage(0, processes=len(pids))  # ended for that; no time to lose on their memory
        used = 0
        for pid in pids:
            memory = memory_of(pid)
            used += memory.anonymous_bytes + memory.shared_bytes
        own = max(used - self._inherited_bytes, 0)
        if len(pids) > 1 or own > self._limits.memory_bytes * _LOOK_CLOSER:
            own = min(own, self._divided(pids, own))
        return GroupUsage(max(own, 0), processes=len(pids))

    def _divided(self, pids: list[int], otherwise: int) -> int:
        """Less the share of what is inherited from the zygote: the keeper has the same share, and so has each fork of ours."""
        parts = [proportional_memory_of(pid) for pid in pids]
        share = proportional_memory_of(os.getpid())
        if share is None or None in parts:
            return otherwise
        return sum(part or 0 for part in parts) - share * sum(map(_is_fork_of_ours, pids))

    def kill(self) -> None:
        send_signal(descendants_of([os.getpid()]), signal.SIGKILL)

    def hurry(self, on: bool) -> None:
        """Takes CAP_SYS_NICE; without it the dying run when there is room. Those that it lifts are about to be gone."""
        for pid in descendants_of([os.getpid()]):
            with contextlib.suppress(OSError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))

    def empty(self) -> bool:
        return not descendants_of([os.getpid()])

    def remove(self) -> bool:
        return True


def _is_fork_of_ours(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe")
    except OSError:
        return False


class Watchdog:
    """The rung that works everywhere."""

    name = "watchdog"
    kernel_holds_memory = False
    yields_cpu = False

    def create(self, name: str, limits: GroupLimits) -> Group:
        return WatchdogGroup(name, limits)

    def leftovers(self) -> list[Group]:
        return []

    def close(self) -> None:
        return
