"""How busy the CPUs are, and how long the service has to wait for one."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping

from tidegate.runtime.ancestry import Groups, number_field_of, number_of, text_of
from tidegate.runtime.limits.paths import UNIFIED

SMOOTHED_S = 10.0
"""Over how long the service's wait is smoothed, as the kernel does it for `avg10`."""


class CpuSensor:
    """`cpu_busy_percent`: of the machine, or of the quota of a group if that is nearer to its end; `cpu_stall_percent`.

    The kernel's own stall of a machine or container counts the jobs that wait for each other. They give way to everything
    else, and a machine that is full of them is as it should be. So what counts is what the scheduler made the threads of
    this process wait: the worst of them, in /proc/self/task/*/schedstat. Where the kernel does not tell that, it is left to
    `fallback` (the kernel's stall of all) to be better than nothing.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        fallback: Callable[[], float | None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = groups
        self._fallback = fallback
        self._monotonic = monotonic
        self._at_s = monotonic()
        self._machine = self._machine_ticks()
        self._quotas = self._quota_use()
        self._waits = self._waited_ns()
        self._stall: float | None = None

    def read(self) -> Mapping[str, float]:
        now_s = self._monotonic()
        passed_s, self._at_s = now_s - self._at_s, now_s
        if passed_s <= 0:
            return {}
        found = {"cpu_busy_percent": self._busy(passed_s), "cpu_stall_percent": self._stalled(passed_s)}
        return {name: value for name, value in found.items() if value is not None}

    def _busy(self, passed_s: float) -> float | None:
        machine, self._machine = self._machine, self._machine_ticks()
        quotas, self._quotas = self._quotas, self._quota_use()
        shares = [
            (used - quotas[folder][0]) / 1e9 / (cpus * passed_s)
            for folder, (used, cpus) in self._quotas.items()
            if folder in quotas
        ]
        if machine is not None and self._machine is not None and self._machine[0] > machine[0]:
            idle = (self._machine[1] - machine[1]) / (self._machine[0] - machine[0])
            shares.append(1.0 - idle)
        return min(max(*shares, 0.0), 1.0) * 100.0 if shares else None

    def _stalled(self, passed_s: float) -> float | None:
        before, self._waits = self._waits, self._waited_ns()
        if not self._waits:
            return self._fallback()
        waited = max(
            (ns - before[thread] for thread, ns in self._waits.items() if thread in before), default=0
        )
        share = min(waited / 1e9 / passed_s, 1.0) * 100.0
        if self._stall is None:
            self._stall = share
        self._stall += (share - self._stall) * (1.0 - math.exp(-passed_s / SMOOTHED_S))
        return self._stall

    def _machine_ticks(self) -> tuple[int, int] | None:
        """All ticks of all CPUs, and those in which nothing was to do."""
        words = (text_of(f"{self._groups.base}/proc/stat") or "").split("\n", 1)[0].split()[1:9]
        # user nice system idle iowait irq softirq steal; guest times are in those of user and nice (proc(5))
        fields = [int(word) for word in words if word.isdigit()]
        return (sum(fields), fields[3] + fields[4]) if len(fields) >= 5 else None

    def _quota_use(self) -> dict[str, tuple[int, float]]:
        """Of each group with a quota: the nanoseconds it has used, and its CPUs."""
        found = {}
        for level in self._groups.of(UNIFIED):
            words = (text_of(f"{level.folder}/cpu.max") or "").split()
            used = number_field_of(text_of(f"{level.folder}/cpu.stat"), "usage_usec")
            if len(words) == 2 and all(word.isdigit() for word in words) and used is not None:
                found[level.folder] = (used * 1000, int(words[0]) / int(words[1]))
        accounts = {level.shown.rpartition("cpuacct")[2]: level for level in self._groups.of("cpuacct")}
        for level in self._groups.of("cpu"):
            quota, period = (number_of(f"{level.folder}/cpu.cfs_{name}_us") for name in ("quota", "period"))
            account = accounts.get(level.shown.rpartition("cpu")[2], level)
            used = number_of(f"{account.folder}/cpuacct.usage")
            if quota and period and used is not None:
                found[level.folder] = (used, quota / period)
        return found

    def _waited_ns(self) -> dict[str, int]:
        """How long each thread of this process could run and had no CPU; empty where the kernel does not tell."""
        folder = f"{self._groups.base}/proc/self/task"
        found = {}
        for thread in _names(folder):
            words = (text_of(f"{folder}/{thread}/schedstat") or "").split()
            if len(words) == 3 and words[2] != "0":
                found[thread] = int(words[1])
        return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
