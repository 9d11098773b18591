"""Linux process trees: who belongs to one, what it uses, how it is ended and proven gone.

The proof used everywhere is `wait4` answering ECHILD in a process that is a subreaper (prctl(2)): orphans of its tree come
to it and to nobody else, so when it has no child left, living or dead, nothing of the tree is left.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_SET_THP_DISABLE = 41

INSTANCE_VARIABLE = "TIDEGATE_INSTANCE"
GENERATION_VARIABLE = "TIDEGATE_GENERATION"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.syscall.restype = ctypes.c_long
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_WALL = 0x40000000  # also children that were cloned without a signal for their end


def prctl(option: int, argument: int = 0) -> int:
    """prctl(2) with its other arguments zero. Raises OSError."""
    answer: int = _libc.prctl(option, argument, 0, 0, 0)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {argument}): {os.strerror(error)}")
    return answer


def set_name(name: str) -> None:
    """The name that `ps` and /proc show of this process; of at most 15 bytes, the rest is cut."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(text))


set_handler: Callable[[int, Any], Any] = getattr(signal.signal, "__wrapped__", signal.signal)
"""`signal.signal` without its detour through enums, which takes 20 µs the first time in each fork."""


def syscall(number: int, *arguments: object) -> int:
    """A system call that the C library does not wrap. Raises OSError."""
    answer: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"system call {number}: {os.strerror(error)}")
    return answer


def read_file(path: str) -> str:
    """A small file of /proc or a control group, whole. Plain system calls: this is read several times a second."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode(errors="replace")


def write_file(path: str, value: object) -> None:
    """Write to a control file in one call, so that the kernel's refusal is raised here."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def threads_of(pid: int | str) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def children_of(pid: int) -> list[int]:
    """Children of a process, of all its threads. Empty when it is gone.

    Children that come or go meanwhile may be missed (proc(5)), so whoever must have them all looks again until
    nothing is left.
    """
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found.extend(map(int, read_file(f"/proc/{pid}/task/{thread}/children").split()))
    except (FileNotFoundError, ProcessLookupError):
        if not os.path.exists("/proc/self/task") or not _HAS_CHILDREN_FILE:
            return [child for child, parent in _parents().items() if parent == pid]
    return found


def _parents() -> dict[int, int]:
    """Parent of every process, for kernels without `children` files (CONFIG_PROC_CHILDREN)."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(read_file(f"/proc/{entry}/stat").rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return parents


_HAS_CHILDREN_FILE = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants_of(pids: Iterable[int]) -> list[int]:
    """All processes below these, parents before children."""
    found: list[int] = []
    todo = list(pids)
    while todo:
        children = children_of(todo.pop())
        found.extend(children)
        todo.extend(children)
    return found


def send_signal(pids: Iterable[int], number: int) -> None:
    """Signal each; those already gone, or not ours to signal, are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


class Reaped(NamedTuple):
    """What a round of reaping found: ended children with their wait statuses, and whether any child is left."""

    ended: dict[int, int]
    none_left: bool


def reap() -> Reaped:
    """Collect all ended children without waiting."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | _WALL)
        except ChildProcessError:
            return Reaped(ended, none_left=True)
        if pid == 0:
            return Reaped(ended, none_left=False)
        ended[pid] = status


_HURRY_AFTER_S = 0.02


def end_descendants(kill_more: Callable[[], None], hurry: Callable[[bool], None], until: float) -> Reaped:
    """Kill and reap everything below this process until nothing is left or the monotonic time `until` has come.

    The caller must be a subreaper. `kill_more` is called in each round, for what else is known of the tree, and `hurry` when
    it takes long. Each round kills what it sees; what was forked meanwhile hangs below a process that is now dying and is
    seen in the next.
    """
    ended: dict[int, int] = {}
    pause_s = 0.0002
    hurry_at = time.monotonic() + _HURRY_AFTER_S
    hurried = False
    while True:
        round_ = reap()
        ended.update(round_.ended)
        if round_.none_left or time.monotonic() >= until:
            if hurried:
                hurry(False)
            return Reaped(ended, round_.none_left)
        kill_more()
        send_signal(descendants_of([os.getpid()]), signal.SIGKILL)
        if time.monotonic() >= hurry_at:
            hurried = True
            hurry(True)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)


class MemoryOf(NamedTuple):
    """Memory of one process in bytes: resident anonymous, shared and file pages, and the highest sum of the three."""

    anonymous_bytes: int = 0
    shared_bytes: int = 0
    file_bytes: int = 0
    highest_bytes: int = 0


def parse_memory(status: str) -> MemoryOf:
    """From the text of /proc/<pid>/status; zeros for what is not in it."""
    return MemoryOf(*(_kib(status, name) * 1024 for name in ("RssAnon", "RssShmem", "RssFile", "VmHWM")))


def _kib(status: str, name: str) -> int:
    _, _, rest = status.partition(f"\n{name}:")
    return int(rest.lstrip().partition(" ")[0] or 0)


def memory_of(pid: int | str) -> MemoryOf:
    """Memory of a process; zeros when it is gone."""
    try:
        return parse_memory(read_file(f"/proc/{pid}/status"))
    except OSError:
        return MemoryOf()


def proportional_memory_of(pid: int) -> int | None:
    """Anonymous and shared memory in bytes, each page divided among the processes that map it.

    Exact for trees that share pages by fork, but the kernel walks the page tables for it. Zero for a process that is
    gone; None where the kernel does not tell (before Linux 5.9) or refuses.
    """
    try:
        text = read_file(f"/proc/{pid}/smaps_rollup")
    except ProcessLookupError:
        return 0
    except OSError:
        return None if os.path.exists(f"/proc/{pid}/stat") else 0
    amounts = [
        int(line.split()[1]) for line in text.splitlines() if line.startswith(("Pss_Anon:", "Pss_Shmem:"))
    ]
    return None if text and len(amounts) < 2 else sum(amounts) * 1024


def virtual_data_bytes() -> int:
    """Private writable address space of this process, what RLIMIT_DATA counts."""
    return int(read_file("/proc/self/statm").split()[5]) * _PAGE_BYTES


def environment_of(pid: int | str) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone or not ours to read."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in text.split(b"\0") if b"=" in item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def marked_processes(instance: str) -> dict[int, str]:
    """Living processes that carry the mark of this instance, with the generation of the server they belong to."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        environment = environment_of(entry)
        if environment.get(INSTANCE_VARIABLE) == instance:
            found[int(entry)] = environment.get(GENERATION_VARIABLE, "")
    return found


def host_oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer ended since boot, anywhere on the machine."""
    for line in read_file("/proc/vmstat").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def disk_use_bytes(folder: str) -> int:
    """Bytes of disk that the files below a folder take up; what vanishes meanwhile counts as nothing.

    Space of files that were deleted while open is not seen.
    """
    total = 0
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    total += _entry_bytes(entry)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue
    return total


def _entry_bytes(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0
