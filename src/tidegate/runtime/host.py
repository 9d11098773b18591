"""How this machine does at the moment, from /proc: cheap enough to be asked once a second."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.ports import Probe
from tidegate.runtime.machine import file_system_of
from tidegate.runtime.processes import read_file

CACHED_S = 1.0
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "ceph", "glusterfs", "lustre", "fuse.s3", "fuse.sshfs", "9p")


class _Times(NamedTuple):
    """Seconds since the machine started, summed over CPUs: all of them, and those in which nothing was to do."""

    all_s: float
    idle_s: float
    own_s: float
    at_s: float


class MachineHost:
    """Reads CPU, memory, disks, network and this process. Safe to use from any thread; an answer is kept for a second.

    `probe` tells what bounds this container. `shared` says that the data directory is a shared path whatever its file system.
    """

    def __init__(
        self,
        data_dir: Path,
        probe: Probe,
        *,
        shared: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data_dir = data_dir
        self._probe = probe
        self._shared = shared
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began_s = monotonic()
        self._last = self._times()
        self._told: tuple[float, Mapping[str, Any]] | None = None

    def system(self) -> Mapping[str, Any]:
        """`cpu`, `memory`, `disk`, `nfs_storage` (None when the data directory is on a disk of this machine), `network`,
        `process`. Percents are 0 to 100; those of CPU are over the time since the answer before, of all CPUs."""
        with self._lock:
            now_s = self._monotonic()
            if self._told is None or now_s - self._told[0] >= CACHED_S:
                self._told = (now_s, self._read())
            return self._told[1]

    def _read(self) -> Mapping[str, Any]:
        limits = self._probe.capacity()
        last, self._last = self._last, self._times()
        return {
            "cpu": self._cpu(last, self._last, limits.cpu_milli),
            "memory": _memory(limits.memory_bytes),
            "disk": _disk(self._data_dir),
            "nfs_storage": _disk(self._data_dir) if self._on_network() else None,
            "network": _network(),
            "process": self._process(last, self._last),
        }

    def _times(self) -> _Times:
        ticks = os.sysconf("SC_CLK_TCK")
        # user nice system idle iowait irq softirq steal; guest times are in those of user and nice (proc(5))
        fields = [int(field) / ticks for field in read_file("/proc/stat").split("\n", 1)[0].split()[1:9]]
        return _Times(sum(fields), fields[3] + fields[4], time.process_time(), self._monotonic())

    def _cpu(self, last: _Times, now: _Times, limit_milli: int) -> dict[str, Any]:
        passed_s = now.all_s - last.all_s
        busy = 1.0 - (now.idle_s - last.idle_s) / passed_s if passed_s > 0 else 0.0
        return {
            "percent": round(min(max(busy, 0.0), 1.0) * 100, 1),
            "count": os.cpu_count() or 1,
            "limit_cpus": limit_milli / 1000,
            "load_average": [round(load, 2) for load in os.getloadavg()],
        }

    def _process(self, last: _Times, now: _Times) -> dict[str, Any]:
        passed_s = now.at_s - last.at_s
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        return {
            "pid": os.getpid(),
            "cpu_percent": round(100 * (now.own_s - last.own_s) / passed_s, 1) if passed_s > 0 else 0.0,
            "cpu_seconds": round(now.own_s, 2),
            "memory_rss_bytes": int(read_file("/proc/self/statm").split()[1]) * page_bytes,
            "threads": len(os.listdir("/proc/self/task")),
            "open_files": len(os.listdir("/proc/self/fd")),
            "uptime_s": round(now.at_s - self._began_s, 1),
        }

    def _on_network(self) -> bool:
        if self._shared:
            return True
        _, kind = file_system_of(self._data_dir, read_file("/proc/self/mountinfo"))
        return kind.startswith(_NETWORK_FILE_SYSTEMS)


def _memory(limit_bytes: int) -> dict[str, Any]:
    fields = {}
    for line in read_file("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    total, available = fields["MemTotal"], fields["MemAvailable"]
    return {
        "total_bytes": total,
        "available_bytes": available,
        "used_bytes": total - available,
        "percent": round(100 * (total - available) / total, 1),
        "limit_bytes": limit_bytes,
        "swap_total_bytes": fields.get("SwapTotal", 0),
        "swap_used_bytes": fields.get("SwapTotal", 0) - fields.get("SwapFree", 0),
    }


def _disk(folder: Path) -> dict[str, Any]:
    """As `df` counts: what is free for users other than root, and its share of what they could use at most."""
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    used = (space.f_blocks - space.f_bfree) * space.f_frsize
    return {
        "path": str(folder),
        "total_bytes": space.f_blocks * space.f_frsize,
        "used_bytes": used,
        "free_bytes": free,
        "percent": round(100 * used / (used + free), 1) if used + free else 0.0,
    }


def _network() -> dict[str, int]:
    """Sums over all interfaces but loopback, since the machine or container started."""
    names = ("received_bytes", "received_packets", "receive_errors", "receive_drops")
    sent = ("sent_bytes", "sent_packets", "send_errors", "send_drops")
    sums = dict.fromkeys((*names, *sent), 0)
    for line in read_file("/proc/net/dev").splitlines()[2:]:
        interface, _, rest = line.partition(":")
        if interface.strip() == "lo":
            continue
        fields = [int(field) for field in rest.split()]
        for name, value in zip((*names, *sent), (*fields[:4], *fields[8:12]), strict=True):
            sums[name] += value
    return sums
