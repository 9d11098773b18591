"""The zygote as the server sees it: a program that is started, spoken to, and waited for."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from tidegate.runtime.processes import GENERATION_VARIABLE, INSTANCE_VARIABLE, read_file
from tidegate.runtime.protocol import Channel

_LEAVES_WITHIN_S = 8.0
_PASSED_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
                       "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONPATH", "PYTHONHOME")  # fmt: skip
_PASSED_PREFIXES = ("LC_", "COVERAGE_")


class ZygoteProcess:
    """One zygote, from its start to its end. It is another one after each start: what it forked belongs to it alone."""

    def __init__(self, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """`config` is what the zygote is told; its `instance` marks all that comes from it, so that it can be found again."""
        ours, theirs = socket.socketpair()
        generation = secrets.token_hex(4)
        marks = {INSTANCE_VARIABLE: config["instance"], GENERATION_VARIABLE: generation}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tidegate.runtime.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={"HOME": "/", **passed_environment(), **environment, **marks},
                start_new_session=True,
            )
        self.channel = Channel(ours)
        self._owed: dict[int, float] = {}
        """Keepers of which it has to tell something next, and since when."""
        self.stood_still = False
        """Whether it was killed because it did not answer."""
        self.channel.send({**config, "generation": generation})

    def fork_keeper(self, number: int) -> Channel:
        """Have it fork a keeper; the way to that."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.channel.send_fd({"do": "keeper", "number": number}, theirs.fileno())
        self.owes(number)
        return Channel(ours)

    def owes(self, number: int) -> None:
        """From now on it has to tell of this keeper: that it was forked, or that it is gone."""
        self._owed[number] = time.monotonic()

    def answered(self, number: int) -> None:
        """It has told of this keeper."""
        self._owed.pop(number, None)

    def owes_since(self) -> float:
        """Since when it owes its oldest answer; infinity when it owes none."""
        return min(self._owed.values(), default=float("inf"))

    def end_standstill(self) -> None:
        """Kill it: its channel then ends as that of one that died by itself."""
        self._owed.clear()
        self.stood_still = True
        self._process.kill()

    def processes(self) -> list[int]:
        """The process ids of the zygote and of its keepers. Safe to call from any thread."""
        pid = self._process.pid
        try:
            return [pid, *map(int, read_file(f"/proc/{pid}/task/{pid}/children").split())]
        except OSError:
            return [pid]

    def wait(self) -> None:
        """After its channel was closed: it ends everything below it before it leaves."""
        try:
            self._process.wait(_LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def passed_environment() -> dict[str, str]:
    """What of the server's environment a job may see: nothing that could be a secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ENVIRONMENT or name.startswith(_PASSED_PREFIXES)
    }
