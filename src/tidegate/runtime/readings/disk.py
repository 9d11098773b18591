"""How much room is left for state, and how much the disks carry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tidegate.runtime.ancestry import base_of, text_of

_SECTOR_BYTES = 512
"""/proc/diskstats counts in these, whatever the device's own are."""
_ABOVE_OTHERS = ("loop", "ram", "zram", "dm-", "md")
"""Devices whose traffic is that of others, or no disk's."""


class DiskSensor:
    """`disk_free_percent` as `df` counts (of what users other than root can use at most) and the traffic of all disks."""

    def __init__(
        self,
        data_dir: Path,
        root: Path = Path("/"),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._data_dir = data_dir
        self._base = base_of(root)
        self._monotonic = monotonic
        self._statvfs = statvfs
        self._at_s = monotonic()
        self._traffic = self._moved()

    def read(self) -> Mapping[str, float]:
        return {**self._room(), **self._rates()}

    def _room(self) -> Mapping[str, float]:
        try:
            space = self._statvfs(str(self._data_dir))
        except OSError:
            return {}
        free = space.f_bavail * space.f_frsize
        used = (space.f_blocks - space.f_bfree) * space.f_frsize
        if used + free <= 0:
            return {}
        return {"disk_free_percent": 100.0 * free / (used + free), "disk_free_bytes": free}

    def _rates(self) -> Mapping[str, float]:
        now_s, before = self._monotonic(), self._traffic
        passed_s, self._at_s, self._traffic = now_s - self._at_s, now_s, self._moved()
        if before is None or self._traffic is None or passed_s <= 0:
            return {}
        read, written = (max(new - old, 0) for new, old in zip(self._traffic, before, strict=True))
        return {"read_bytes_per_s": read / passed_s, "written_bytes_per_s": written / passed_s}

    def _moved(self) -> tuple[int, int] | None:
        """Bytes read and written since the machine started. Partitions are left out, being parts of disks."""
        text = text_of(f"{self._base}/proc/diskstats")
        if text is None:
            return None
        rows = [line.split() for line in text.splitlines()]
        disks = [row for row in rows if len(row) > 9 and self._is_disk(row[2])]
        return (
            sum(int(row[5]) for row in disks) * _SECTOR_BYTES,
            sum(int(row[9]) for row in disks) * _SECTOR_BYTES,
        )

    def _is_disk(self, name: str) -> bool:
        return not name.startswith(_ABOVE_OTHERS) and os.path.isdir(f"{self._base}/sys/block/{name}")
