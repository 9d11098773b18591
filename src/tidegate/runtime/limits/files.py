"""Reading and changing control group folders; shared by both versions."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from tidegate.runtime.processes import read_file, send_signal, write_file

BATCH = "tidegate-{instance}"
INTERACTIVE = "tidegate-{instance}.interactive"


def container_names(instance: str) -> tuple[str, str]:
    """The folders that hold the groups of batch and of interactive attempts."""
    return BATCH.format(instance=instance), INTERACTIVE.format(instance=instance)


def parse_numbers(text: str) -> dict[str, int]:
    """A flat keyed file such as `memory.stat`."""
    numbers = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        numbers[name] = int(value)
    return numbers


def read_numbers(path: str) -> dict[str, int]:
    """A flat keyed file, by its path."""
    return parse_numbers(read_file(path))


def used_memory(stat: Mapping[str, int]) -> int:
    """Anonymous plus shared memory of a group in bytes, from its `memory.stat` of either version."""
    if "anon" in stat:
        return stat["anon"] + stat["shmem"]
    return stat["total_rss"] + stat.get("total_shmem", 0)


def read_number(path: str) -> int:
    """A file that holds one number."""
    return int(read_file(path))


def processes_in(folder: str) -> list[int]:
    """Processes in a group; none when it does not exist."""
    try:
        return [int(pid) for pid in read_file(f"{folder}/cgroup.procs").split()]
    except OSError:
        return []


def kill_listed(folder: str) -> None:
    """SIGKILL to each process listed, frozen or not."""
    send_signal(processes_in(folder), signal.SIGKILL)


def make_folder(path: str) -> None:
    """A container: it may be there from an earlier server of this instance."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return


def remove_folder(path: str) -> bool:
    """Whether the group is gone; false while it has processes or groups in it (EBUSY, ENOTEMPTY)."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def subgroups(folder: str) -> list[str]:
    """Names of the groups in a container."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def write_if_there(path: str, value: object) -> bool:
    """Write to a control file that not every kernel has; whether it took the value."""
    try:
        write_file(path, value)
    except OSError:
        return False
    return True


def cpu_shares(yield_cpu: str) -> int:
    """Weight of the batch container in v1 shares, where 1024 is a process of normal niceness.

    `nice` is the weight of nice 10 and `weight` one hundredth of normal; the table of weights is in the kernel's
    kernel/sched/core.c. `idle` is the least weight, for kernels without `cpu.idle`.
    """
    return {"idle": 2, "nice": 110, "weight": 10, "off": 1024}[yield_cpu]


INTERACTIVE_SHARES = 335
"""The weight of nice 5: after the service, before all batch work."""
