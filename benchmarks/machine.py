"""What machine this is, and how busy it is."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from typing import Any

_MEASURED_WITH = ("duckdb", "fastapi", "uvicorn", "sqlalchemy")


def describe() -> dict[str, Any]:
    """CPUs, memory, kernel and versions; nothing that names this machine."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in (*_MEASURED_WITH, "tidegate")},
    }


def load() -> float:
    """Load of the last minute, that is how many processes wanted a CPU on average."""
    return os.getloadavg()[0]


def busy_share(over_s: float = 0.5) -> float:
    """Share of all CPUs in use just now, 0 to 1."""
    idle_before, all_before = _ticks()
    time.sleep(over_s)
    idle_after, all_after = _ticks()
    return 1.0 - (idle_after - idle_before) / max(all_after - all_before, 1)


def _ticks() -> tuple[int, int]:
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Processor", "cpu model"):
                return value.strip()
    return platform.machine()
