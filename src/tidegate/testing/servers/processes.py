"""The programs of test servers and the processes they become: found, held, ended."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
from pathlib import Path

_PLACES = ("/usr/sbin", "/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin")


class MissingProgram(Exception):
    """A program that tests need is not installed; the message names its Debian package."""


class ServerFailed(Exception):
    """A server ended or did not answer in time; the message holds the end of its log."""


def program(name: str, package: str) -> str:
    """Where a program is. Raises MissingProgram."""
    found = shutil.which(name)
    if found is None:
        places = [str(path / name) for place in _PLACES for path in sorted(Path("/").glob(place[1:]))]
        found = next((place for place in reversed(places) if os.access(place, os.X_OK)), None)
    if found is None:
        raise MissingProgram(f"{name} is not installed. As root: apt-get install -y {package}")
    return found


class Processes:
    """A process and its descendants as they are now, held so that no number can come to mean another process."""

    def __init__(self, pid: int) -> None:
        self._handles: list[int] = []
        for each in tree(pid):
            with contextlib.suppress(ProcessLookupError):
                self._handles.append(os.pidfd_open(each))

    def send(self, number: signal.Signals) -> None:
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def wait(self, timeout_s: float) -> None:
        """Wait until all are gone. Raises ServerFailed."""
        deadline = time.monotonic() + timeout_s
        for handle in self._handles:
            poll = select.poll()  # readable once the process has ended
            poll.register(handle, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ServerFailed(f"A process of a test server did not end within {timeout_s} s.")

    def __del__(self) -> None:
        for handle in self._handles:
            os.close(handle)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it, as they are now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found
