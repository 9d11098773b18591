"""A made-up machine: its /proc and /sys below a folder."""

from __future__ import annotations

from pathlib import Path

from tidegate.core.resources import GIB
from tidegate.runtime.probe import MachineProbe

UNLIMITED_V1 = "9223372036854771712"
V1_CONTROLLERS = ("cpu", "cpuset", "memory")


class Tree:
    """A machine below a folder: its /proc and /sys, with 8 CPUs and 32 GiB unless changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts: list[str] = []
        self.affinity = set(range(8))
        self.write("/sys/devices/system/cpu/online", "0-7\n")
        self.meminfo(32 * GIB)

    def write(self, path: str, text: object) -> None:
        file = self.root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def meminfo(self, total_bytes: int) -> None:
        self.write("/proc/meminfo", f"MemTotal:       {total_bytes // 1024} kB\nMemFree:        1000 kB")

    def groups(self, *lines: str) -> None:
        """What /proc/self/cgroup says."""
        self.write("/proc/self/cgroup", "\n".join(lines))

    def mount(self, point: str, type: str, options: str, root: str = "/") -> None:
        number = 30 + len(self.mounts)
        self.mounts.append(f"{number} 25 0:{number} {root} {point} rw,nosuid - {type} {type} rw,{options}")
        self.write("/proc/self/mountinfo", "\n".join(self.mounts))

    def mount_v1(self, *groups: str) -> None:
        for controller in groups or V1_CONTROLLERS:
            self.mount(f"/sys/fs/cgroup/{controller}", "cgroup", controller)

    def probe(self) -> MachineProbe:
        return MachineProbe(self.root / "data", self.root, affinity=lambda: self.affinity)
