"""What an attempt tells its keeper, over one pipe: JSON lines, of which the last of each attempt is a result or an error."""

from __future__ import annotations

import _thread
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.runtime.limits.files import used_memory
from tidegate.runtime.processes import MemoryOf, parse_memory
from tidegate.workloads.errors import TaskError

MAX_RESULT_BYTES = 1024 * 1024
"""Largest report of an attempt. Data belongs into files of the staging folder."""
_PROGRESS_EVERY_S = 0.1
LOG_MARK = b"\0-- next attempt --\0"
BATCH_S = 3.0
"""A batch begins nothing more after this long: what is left is put back, so that others get their turn."""


class Reporter:
    """The child's end of the pipe to the keeper. Lines are whole even when several threads report."""

    def __init__(self, fd: int, stat_fd: int | None) -> None:
        """`stat_fd` is of the group's `memory.stat`; without, the memory of this process is told."""
        self._fd = fd
        self._turns = 1
        self._until = 0.0
        self._told_cpu_s = 0.0
        self.finished = False
        self._pid = os.getpid()
        self._status_fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._stat_fd = stat_fd
        self._inherited_bytes = 0
        self._lock = _thread.allocate_lock()
        self._next_progress_at = 0.0
        if stat_fd is None:
            memory = self._memory_now()
            self._inherited_bytes = memory.anonymous_bytes + memory.shared_bytes

    def begin(self, turns: int) -> None:
        """From now on, on so many attempts, unless it is `finished` before."""
        self._turns = turns
        self._until = time.monotonic() + BATCH_S

    def settle(self, log_fd: int) -> None:
        """Take the descriptors from 3 on, give the log 1 and 2, and close all others."""
        wanted = [log_fd, log_fd, self._fd, self._status_fd]
        wanted += [] if self._stat_fd is None else [self._stat_fd]
        _place_fds(wanted)
        self._fd, self._status_fd = 3, 4
        self._stat_fd = None if self._stat_fd is None else 5

    def progress(self, share: float) -> None:
        """At most ten times a second; the rest is dropped."""
        now = time.monotonic()
        if now < self._next_progress_at:
            return
        self._next_progress_at = now + _PROGRESS_EVERY_S
        self._write({"progress": min(max(float(share), 0.0), 1.0)})

    def result(self, facts: Mapping[str, Any]) -> None:
        more = self._more()
        line = _encode({"result": facts, "peak_memory_bytes": self._peak(), **more})
        if len(line) > MAX_RESULT_BYTES:
            raise TaskError(
                f"The runner's report of {len(line)} bytes is above the {MAX_RESULT_BYTES} bytes allowed. "
                "Write data to a file in the staging folder instead.",
                code="result_too_large",
            )
        self._end_turn(line, more)

    def error(self, facts: Mapping[str, Any], *, sound: bool = False) -> None:
        """`sound`: the process is none the worse for it, and may go on with the next one."""
        more = self._more() if sound else {}
        self._end_turn(_encode({"error": facts, "peak_memory_bytes": self._peak(), **more}), more)

    def _more(self) -> dict[str, float]:
        """What a report says besides when the next one of the batch follows."""
        if self._turns == 1 or time.monotonic() >= self._until:
            return {}
        return {"cpu_s": time.process_time() - self._told_cpu_s}

    def _end_turn(self, line: bytes, more: Mapping[str, float]) -> None:
        if more:
            _mark_log()
        self._turns -= 1
        self._told_cpu_s += more.get("cpu_s", 0.0)
        self.finished = not more
        self._send(line)

    def _peak(self) -> int:
        """Highest anonymous and shared memory so far: what is used now, and how much more was resident at the highest.

        Too low, never too high, as long as no file was unmapped: resident file pages count in both.
        """
        memory = self._memory_now()
        resident = memory.anonymous_bytes + memory.shared_bytes
        used = max(resident - self._inherited_bytes, 0)
        if self._stat_fd is not None:
            used = used_memory(os.pread(self._stat_fd, 16384, 0).decode())
        return used + max(memory.highest_bytes - resident - memory.file_bytes, 0)

    def _memory_now(self) -> MemoryOf:
        return parse_memory(os.pread(self._status_fd, 4096, 0).decode())

    def _write(self, message: Mapping[str, Any]) -> None:
        self._send(_encode(message))

    def _send(self, line: bytes) -> None:
        """Only the attempt's first process speaks for it: a fork of it that ends up here is not the job."""
        if os.getpid() != self._pid:
            os._exit(1)
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]


def _mark_log() -> None:
    """What is printed from now on belongs to the next one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, LOG_MARK)


_encoder = json.JSONEncoder(separators=(",", ":"), default=str)


def _encode(message: Mapping[str, Any]) -> bytes:
    return _encoder.encode(message).encode() + b"\n"


def _place_fds(fds: Sequence[int]) -> None:
    """Make these the descriptors 1, 2, 3, ... and close all others but 0, which is /dev/null in the zygote."""
    if min(fds) <= len(fds):  # in the way of another one
        fds = [_dup_above(fd, len(fds)) for fd in fds]
    for number, fd in enumerate(fds, start=1):
        os.dup2(fd, number, inheritable=number < 3)
    os.closerange(len(fds) + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _dup_above(fd: int, most: int) -> int:
    while fd <= most:
        fd = os.dup(fd)
    return fd
