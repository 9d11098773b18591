"""Capacity of this machine or container: the least of all that bounds it, each figure with its origin.

A container's limits stand in control groups, and each ancestor of a group bounds it too. lxcfs and cpusets show
themselves elsewhere. So everything that is there is read and the smallest figure counts. Weights (`cpu.shares`,
`cpu.weight`) are no capacity and are left out. All of it can change while we run, so nothing is kept between calls;
a call reads some twenty small files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tidegate.core.resources import Resources
from tidegate.errors import Unavailable
from tidegate.ports import Reading
from tidegate.runtime.ancestry import Above, base_of, field_of, groups_above, text_of
from tidegate.runtime.limits.paths import UNIFIED


def own_affinity() -> set[int]:
    """CPUs this process may run on. Those that are offline are not among them (sched_getaffinity(2))."""
    return os.sched_getaffinity(0)


class MachineProbe:
    """Capacity of the machine or container that this process lives in; disk is what is free below the data directory and,
    where that lies elsewhere, below the `scratch` of attempts: they may fill both.

    `root` is where `/proc` and `/sys` lie and `affinity` tells the CPUs this process may use: tests give their own.
    """

    def __init__(
        self,
        data_dir: Path,
        root: Path = Path("/"),
        *,
        affinity: Callable[[], Collection[int]] = own_affinity,
        scratch: Path | None = None,
    ) -> None:
        self._disks = [data_dir] if scratch is None else [data_dir, scratch]
        self._base = base_of(root)
        self._affinity = affinity

    def capacity(self) -> Resources:
        """The amounts. Raises Unavailable when not even `/proc/meminfo` can be read."""
        origins = self.origins()
        return Resources(**{name: reading.value for name, reading in origins.items()})

    def origins(self) -> Mapping[str, Reading]:
        """`cpu_milli`, `memory_bytes`, `disk_bytes`: the figure that counts, and where it comes from."""
        return {
            name: min(found, key=lambda reading: reading.value) for name, found in self.readings().items()
        }

    def readings(self) -> Mapping[str, list[Reading]]:
        """Every bound that was found, for each amount; what the machine as a whole has comes first."""
        levels = groups_above(self._base)
        return {
            "cpu_milli": list(self._cpus(levels)),
            "memory_bytes": list(self._memory(levels)),
            "disk_bytes": [_disk(folder) for folder in self._disks],
        }

    # CPUs

    def _cpus(self, levels: Mapping[str, list[Above]]) -> Iterator[Reading]:
        online = parse_cpu_list(self._read("/sys/devices/system/cpu/online"))
        yield Reading((len(online) or os.cpu_count() or 1) * 1000, "CPUs online of the machine")
        yield Reading(len(self._affinity()) * 1000, "CPU affinity of this process")
        yield from _cpuset(levels.get(UNIFIED, ()), "v2", "cpuset.cpus.effective")
        yield from _cpuset(levels.get("cpuset", ()), "v1", "cpuset.effective_cpus", "cpuset.cpus")
        for level in levels.get(UNIFIED, ()):
            yield from _quota(level, "cgroup v2 cpu.max", *_words(level, "cpu.max"))
        for level in levels.get("cpu", ()):
            quota = _words(level, "cpu.cfs_quota_us") + _words(level, "cpu.cfs_period_us")
            yield from _quota(level, "cgroup v1 cpu.cfs_quota_us", *quota)

    # Memory

    def _memory(self, levels: Mapping[str, list[Above]]) -> Iterator[Reading]:
        yield Reading(self._machine_memory_bytes(), "MemTotal of /proc/meminfo")
        for level in levels.get(UNIFIED, ()):
            for name in ("memory.max", "memory.high"):
                yield from _limit(level, f"cgroup v2 {name}", text_of(f"{level.folder}/{name}"))
        for level in levels.get("memory", ()):
            yield from _limit(
                level, "cgroup v1 memory.limit_in_bytes", text_of(f"{level.folder}/memory.limit_in_bytes")
            )
        for level in levels.get("memory", ())[:1]:
            # The least limit of all ancestors, also of those that a container cannot see.
            hierarchical = field_of(text_of(f"{level.folder}/memory.stat"), "hierarchical_memory_limit")
            yield from _limit(level, "cgroup v1 hierarchical_memory_limit", hierarchical)

    def _machine_memory_bytes(self) -> int:
        kibibytes = field_of((self._read("/proc/meminfo") or "").replace(":", ""), "MemTotal")
        if kibibytes is None:
            raise Unavailable(
                "The memory of this machine is not known: /proc/meminfo cannot be read. Mount /proc, then start again."
            )
        return int(kibibytes) * 1024

    def _read(self, path: str) -> str | None:
        return text_of(self._base + path)


def _disk(folder: Path) -> Reading:
    """Free space for users other than root. The folder may still have to be made."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    space = os.statvfs(folder)
    return Reading(space.f_bavail * space.f_frsize, f"free space of the file system of {folder}")


def parse_cpu_list(text: str | None) -> set[int]:
    """CPU numbers of a list in the kernel's form, such as `0-3,8`; empty for None, empty or unreadable text."""
    cpus: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def _cpuset(levels: Sequence[Above], version: str, *names: str) -> Iterator[Reading]:
    """The CPU set of the nearest group that shows one: v2 does so only where the controller is enabled.

    An effective set lies within those above it. Its numbers are counted, not compared: lxcfs numbers CPUs anew.
    """
    for level in levels:
        for name in names:
            cpus = parse_cpu_list(text_of(f"{level.folder}/{name}"))
            if cpus:
                yield Reading(len(cpus) * 1000, f"cgroup {version} {name} of {level.shown}")
                return


def _quota(level: Above, name: str, quota: str = "max", period: str = "") -> Iterator[Reading]:
    """A CPU quota as milli-CPUs, rounded down, at least 1; nothing for `max`, -1 and files that are not there."""
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        yield Reading(max(int(quota) * 1000 // int(period), 1), f"{name} of {level.shown}")


def _limit(level: Above, name: str, text: str | None) -> Iterator[Reading]:
    """A memory limit; nothing for `max`, -1 and files that are not there.

    v1 writes "none" as nearly 2**63, which is never the least.
    """
    if text is not None and text.strip().isdigit():
        yield Reading(int(text), f"{name} of {level.shown}")


def _words(level: Above, name: str) -> list[str]:
    return (text_of(f"{level.folder}/{name}") or "").split()
