"""How many processes and threads the executors have, and how much memory they may use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tidegate.core.resources import Resources
from tidegate.errors import SettingError
from tidegate.runtime.probe import MachineProbe

CPU_WORKERS_VARIABLE = "CPU_EXECUTOR_WORKERS"
IO_THREADS_VARIABLE = "IO_EXECUTOR_THREADS"
MOST_CPU_WORKERS = 256
MOST_IO_THREADS = 1024
_MEMORY_SHARE = 0.8
"""Of the machine's or container's memory, for all calls together: the rest is for the application and the system."""


class Sizes(NamedTuple):
    """Processes, threads, and bytes that all running CPU calls together may ask for."""

    cpu_workers: int
    io_threads: int
    memory_bytes: int


def sizes_of(
    capacity: Resources,
    environment: Mapping[str, str],
    *,
    cpu_workers: int | None = None,
    io_threads: int | None = None,
) -> Sizes:
    """One process fewer than there are CPUs, since the event loop needs one too, and five threads a CPU up to 20.

    What is given holds before the environment, and that before what suits the machine. Raises SettingError for a figure
    out of its range.
    """
    cpus = max(1, capacity.cpu_milli // 1000)
    workers = _chosen(cpu_workers, environment, CPU_WORKERS_VARIABLE, MOST_CPU_WORKERS)
    threads = _chosen(io_threads, environment, IO_THREADS_VARIABLE, MOST_IO_THREADS)
    return Sizes(
        max(1, cpus - 1) if workers is None else workers,
        min(cpus * 5, 20) if threads is None else threads,
        int(capacity.memory_bytes * _MEMORY_SHARE),
    )


def capacity_here() -> Resources:
    """What this machine, container or CPU set really gives, by every bound that can be seen."""
    return MachineProbe(Path("/")).capacity()


def _chosen(given: int | None, environment: Mapping[str, str], name: str, most: int) -> int | None:
    text = environment.get(name, "").strip()
    if given is None and not text:
        return None
    shown = repr(environment[name]) if given is None else repr(given)
    figure = _whole(text if given is None else given)
    if figure is None or not 1 <= figure <= most:
        raise SettingError(
            f"{name} must be a whole number from 1 to {most}, not {shown:.80}. Leave it out for what suits the machine.",
            numbers={"least": 1, "most": most},
        )
    return figure


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    if isinstance(value, int):
        return value
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def own_sizes(*, cpu_workers: int | None = None, io_threads: int | None = None) -> Sizes:
    """For this process, by its environment."""
    return sizes_of(capacity_here(), os.environ, cpu_workers=cpu_workers, io_threads=io_threads)
