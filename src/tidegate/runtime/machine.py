"""What the doctor asks of the machine: by doing where that is possible, without leaving anything behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tidegate.ports import Probe
from tidegate.runtime.ancestry import groups_above, number_of
from tidegate.runtime.limits import landlock
from tidegate.runtime.limits.paths import UNIFIED
from tidegate.runtime.limits.process import yield_cpu
from tidegate.runtime.probe import MachineProbe
from tidegate.runtime.processes import read_file
from tidegate.runtime.sandbox import Rungs, Sandboxes
from tidegate.settings import Settings


class Machine:
    """What is asked of the machine; tests give other answers."""

    def probe(self, data_dir: Path, scratch: Path | None = None) -> Probe:
        return MachineProbe(data_dir, scratch=scratch)

    def rungs(self, settings: Settings) -> Rungs:
        """The ladder as a server would find it. Raises SettingError when the wanted rung does not work."""
        sandboxes = Sandboxes(
            instance=f"doctor-{os.getpid()}", rung=settings.enforcement, yield_cpu=settings.yield_cpu
        )
        try:
            sandboxes.open()
            return sandboxes.rungs
        finally:
            sandboxes.close(grace_s=1.0)

    def landlock_abi(self) -> int:
        return landlock.abi()

    def can_yield(self, how: str) -> bool:
        """Whether a thread may put itself behind others; on Linux that is a property of each thread."""
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(_yields(how)))
        thread.start()
        thread.join()
        return answers == [True]

    def processes_free(self) -> int | None:
        """How many processes and threads the control groups around this process still let it have; None: no bound."""
        above = groups_above()
        free = [
            most - (number_of(f"{group.folder}/pids.current") or 0)
            for group in (*above.get("pids", []), *above.get(UNIFIED, []))
            if (most := number_of(f"{group.folder}/pids.max")) is not None
        ]
        return min(free, default=None)

    def mounts(self) -> str:
        return read_file("/proc/self/mountinfo")

    def duckdb_version(self) -> str | None:
        """Without importing it: that would cost this process 30 MB."""
        try:
            return version("duckdb")
        except PackageNotFoundError:
            return None


def _yields(how: str) -> bool:
    try:
        yield_cpu(how, interactive=False, group_yields=False)
    except OSError:
        return False
    return True


def write_fault(folder: Path) -> str | None:
    """Why no file can be made in a folder; None when one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def file_system_of(path: Path, mountinfo: str) -> tuple[str, str]:
    """Mount point and type of the file system that a resolved path lies on, from the text of /proc/<pid>/mountinfo."""
    found = (Path("/"), "unknown")
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), left.split()[4]))
        # A later mount hides an earlier one at the same place.
        if path.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = (point, right.split()[0])
    return str(found[0]), found[1]


def server_of(data_dir: Path) -> dict[str, Any] | None:
    """Process id and address of the server that holds the data directory's lock; None when nobody does."""
    try:
        with (data_dir / "lock").open() as file:
            # Held for an instant when it is free; a server that starts in just that instant says it is taken.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            return None
    try:
        note = json.loads((data_dir / "server.json").read_text())
        return {"pid": int(note["pid"]), "url": str(note["url"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"pid": None, "url": None}


def listen_fault(host: str, port: int) -> str | None:
    """Why nothing can listen there; None when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return None
