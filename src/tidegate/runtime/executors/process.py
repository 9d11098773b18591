"""One process of the executors as the manager sees it: its folder, its line, the call it has."""

from __future__ import annotations

import os
import shutil
import socket
import time
from enum import Enum
from pathlib import Path
from typing import Any

from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.runtime.executors.calls import Call
from tidegate.runtime.executors.serve import BEGUN, SOCKET
from tidegate.runtime.executors.wire import Frame, Kind, Line
from tidegate.runtime.sandbox import SandboxOrder

RUNNER = "tidegate.runtime.executors.serve:run"
_UNLIMITED_DISK_BYTES = 2**60
"""An application's functions write where it may write itself."""
_UNLIMITED_S = 10 * 365 * 86400.0
"""Of the process; each call has its own limit."""
_LOG = "/proc/self/fd/2"
"""What functions print goes to the standard error that the keeper has from the application, where that can be opened."""


class Ending(Enum):
    """Why a process is being ended."""

    TIME_LIMIT = "its call ran too long"
    ABANDONED = "nobody waits for its call"
    RENEWED = "it is to be replaced"
    STOPPED = "the executors are closed"


class Process:
    """From the order to the sandbox until nothing of it is left. Everything here is done by the pool's thread."""

    def __init__(self, number: int, memory_bytes: int, root: Path) -> None:
        self.key = AttemptKey(number, 1, 1)
        self.memory_bytes = memory_bytes
        self.call: Call | None = None
        self.ending: Ending | None = None
        self.line: Line | None = None
        self.calls = 0
        self.idle_since: float | None = None
        self._folder = root / str(number)
        staging = self._folder / "staging"
        staging.mkdir(parents=True, mode=0o700)
        self._begun = os.open(staging / BEGUN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.listener: socket.socket | None = _listen(staging)

    def order(self, spec: dict[str, Any]) -> SandboxOrder:
        """What the sandbox is to run."""
        resources = Resources(1000, self.memory_bytes, _UNLIMITED_DISK_BYTES)
        return SandboxOrder(self.key, RUNNER, spec, resources, _UNLIMITED_S, str(self._folder), log_path=_LOG)

    @property
    def idle(self) -> bool:
        """Whether it can take a call now."""
        return self.line is not None and self.call is None and self.ending is None

    @property
    def deadline(self) -> float | None:
        """When its call has to be done, on the monotonic clock."""
        call = self.call
        if call is None or call.started_at is None or call.timeout_s is None or self.ending is not None:
            return None
        return call.started_at + call.timeout_s

    def answered(self) -> bool:
        """The process has come; take its line. False when nobody came."""
        assert self.listener is not None
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return False
        self.listener.close()
        self.listener = None
        self.line = Line(connection)
        return True

    def give(self, call: Call) -> None:
        """Have it run a call: now, or as soon as it has come."""
        self.call = call
        self.idle_since = None
        if self.line is not None:
            self.send()

    def send(self) -> None:
        """Send the call that it was given."""
        call, line = self.call, self.line
        assert call is not None
        assert line is not None
        call.started_at = time.monotonic()
        self.calls += 1
        line.send(Frame(call.number, 0, Kind.CALL, call.parts))

    def has_begun(self, call: Call) -> bool:
        """Whether it ever began this call. What it did not begin can be given to another."""
        return int.from_bytes(os.pread(self._begun, 8, 0), "little") == call.number

    def remove(self) -> None:
        """When nothing of it is left."""
        for end in (self.line, self.listener):
            if end is not None:
                end.close()
        os.close(self._begun)
        shutil.rmtree(self._folder, ignore_errors=True)


def _listen(folder: Path) -> socket.socket:
    """A socket in a folder whose path may be longer than the 108 bytes of unix(7): named through a descriptor of it."""
    listener = socket.socket(socket.AF_UNIX)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{SOCKET}")
    finally:
        os.close(fd)
    listener.listen(1)
    listener.setblocking(False)
    return listener
