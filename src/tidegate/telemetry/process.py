"""How this process does, under the names that every Prometheus exporter uses. A look reads four files of the kernel."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tidegate.telemetry.meters import Sample, Source

__all__ = ["of_this_process"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def of_this_process(role: str) -> Source:
    """A source of `process_*` and of what runs here: `role` is `server` or `worker`."""
    release = version("tidegate")

    def look() -> Iterator[Sample]:
        yield Sample("tidegate_build_info", 1.0, (release, role))
        yield from _process()

    return look


def _process() -> Iterator[Sample]:
    # After the name, which may hold anything, the fields from the third on; see proc(5).
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    user, system, threads, began, virtual, resident = (int(fields[at - 3]) for at in (14, 15, 20, 22, 23, 24))
    yield Sample("process_cpu_seconds_total", (user + system) / _TICKS_PER_S)
    yield Sample("process_virtual_memory_bytes", virtual)
    yield Sample("process_resident_memory_bytes", resident * _PAGE_BYTES)
    yield Sample("process_start_time_seconds", _booted_at() + began / _TICKS_PER_S)
    yield Sample("process_open_fds", len(os.listdir("/proc/self/fd")))
    yield Sample("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield Sample("process_threads", threads)


def _booted_at() -> float:
    """When the machine began, in seconds since 1970."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))
