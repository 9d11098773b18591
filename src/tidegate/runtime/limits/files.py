"""Reading and changing control group folders; shared by both versions."""

from __future__ import annotations

import os
import signal

from tidegate.runtime.processes import read_file, send_signal, write_file

BATCH = "tidegate-{instance}"
INTERACTIVE = "tidegate-{instance}.interactive"


PAIR = "tidegate-{instance}.pair"
"""Holds the service and its jobs, so that jobs give way to the service alone and both compete with others as one."""
SERVICE_LEAF = "service"


class KeptFile:
    """A control file that is used again and again: opened once, with its first use."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self.path = path
        self._flags = flags
        self._fd = -1

    def fileno(self) -> int:
        """Raises OSError when there is no such file."""
        if self._fd < 0:
            self._fd = os.open(self.path, self._flags | os.O_CLOEXEC)
        return self._fd

    def read(self) -> str:
        """What it says now; of at most 16 KiB."""
        return os.pread(self.fileno(), 16384, 0).decode(errors="replace")

    def write(self, value: bytes) -> None:
        os.write(self.fileno(), value)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


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


def used_memory(stat: str) -> int:
    """Anonymous plus shared memory of a group in bytes, from the text of its `memory.stat` of either version."""
    if stat.startswith("anon "):
        return pick_number(stat, "anon") + pick_number(stat, "shmem")
    return pick_number(stat, "total_rss") + pick_number(stat, "total_shmem")


def pick_number(text: str, name: str) -> int:
    """One number of a flat keyed file, which is not parsed whole; 0 when it is not there."""
    _, found, rest = f"\n{text}".partition(f"\n{name} ")
    return int(rest.partition("\n")[0]) if found else 0


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
    kernel/sched/core.c. `idle` and `auto` are the least weight, for kernels without `cpu.idle`.
    """
    return {"auto": 2, "idle": 2, "nice": 110, "weight": 10, "off": 1024}[yield_cpu]


INTERACTIVE_SHARES = 335
"""The weight of nice 5: after the service, before all batch work."""
