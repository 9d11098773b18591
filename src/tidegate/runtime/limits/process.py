"""Limits and manners of a single process: resource limits, CPU policy, privileges. Set by the child on itself.

All of it is inherited by what the child starts, and none of it can be undone by a process without privileges.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import struct
from pathlib import Path

from tidegate.runtime.processes import prctl, syscall, virtual_data_bytes, write_file

_PR_CAPBSET_DROP = 24
_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91}
_MACHINE = os.uname().machine
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SETPCAP = 8
_KEPT = 1 << 1
"""CAP_DAC_OVERRIDE"""

OOM_SCORE_ADJUSTMENT = 500
"""When the host runs out of memory the kernel takes a job before the service or anything else of normal rank."""


def set_resource_limits(*, memory_bytes: int, disk_bytes: int, kernel_holds_memory: bool) -> None:
    """Core files off; no file larger than the disk limit; without control groups also a cap on private memory and processes.

    RLIMIT_DATA counts what is mapped, not what is used, so the cap is twice the memory limit on top of what was inherited;
    the watchdog does the finer work. RLIMIT_NPROC counts all of a user's processes and does not bind root.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, disk_bytes)
    if not kernel_holds_memory:
        _lower(resource.RLIMIT_DATA, virtual_data_bytes() + 2 * memory_bytes)
        if os.getuid() != 0:
            _lower(resource.RLIMIT_NPROC, 4096)


def _lower(which: int, amount: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        amount = min(amount, hard)
    resource.setrlimit(which, (amount, amount))


def offer_to_oom_killer() -> None:
    """Raise the out-of-memory score; raising needs no privilege."""
    write_file("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT)


def yield_cpu(how: str, *, interactive: bool, group_yields: bool) -> None:
    """Give way to the service by this process's own policy, where its control group does not do it already.

    `idle` is SCHED_IDLE, which runs only in what others leave but for a sliver; `nice` and `auto` are nice 10; interactive
    work is nice 5 instead.
    """
    if group_yields or how in ("weight", "off"):
        return
    if interactive:
        os.nice(5)
    elif how == "idle":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(10)


def drop_privileges(*, files_confined: bool) -> None:
    """Give up root's capabilities for good.

    One is kept while Landlock confines the files: CAP_DAC_OVERRIDE, so that a service running as root can read inputs that
    belong to other users, as it could when they were registered. Landlock still limits it to the job's own inputs and
    staging folder. CAP_DAC_READ_SEARCH would be narrower, but it opens files by handle, past the path rules.
    """
    permitted = permitted_capabilities()
    if permitted:
        _set_capabilities(permitted & _KEPT if files_confined else 0)


def shrink_bounding_set() -> None:
    """Take from this process and all below it what a program that they start could gain by being root's.

    Done once, in the zygote, whose own capabilities stay as they are. A container may have taken CAP_SETPCAP, and then this
    is refused; no_new_privs of each attempt has the same effect.
    """
    permitted = permitted_capabilities()
    if not permitted >> _CAP_SETPCAP & 1:
        return
    for capability in range(permitted.bit_length()):
        if not _KEPT >> capability & 1:
            prctl(_PR_CAPBSET_DROP, capability)


@functools.cache
def permitted_capabilities() -> int:
    """A bit for each capability of this process; read once, since forks inherit both the set and this answer."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _set_capabilities(mask: int) -> None:
    """capset(2): effective and permitted as given, nothing inheritable."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    syscall(_CAPSET[_MACHINE], ctypes.c_char_p(header), ctypes.c_char_p(data))
