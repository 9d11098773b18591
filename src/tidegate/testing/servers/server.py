"""What all servers for tests share: a port and a folder of their own, start, stop and sudden ends."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tidegate.testing.servers.processes import Processes, ServerFailed

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
ADDRESS = "127.0.0.1"
USER = "tidegate"
"""Of the accounts that servers make for their clients."""
_LOOK_S = 0.02
_PORTS = range(
    20_000, 32_000
)  # below those that Linux gives to clients: nobody takes one while its server is down

# A process asks to be ended with the thread that started it; this one lasts as long as the program.
_starter = ThreadPoolExecutor(1, "tidegate-test-servers")


def free_port() -> int:
    """A port of loopback on which nobody listens now."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ADDRESS, port))
            return port


class Server(ABC):
    """One server: its folder, port and processes. Stopped when it is made; `with` starts it and removes its folder after.

    `durable` has it write through to the disk as it would in earnest, which tests rarely need: what a killed server has
    confirmed survives either way, except for Redis. `listen` is another address for a network of one's own (`network.enter`).
    """

    name: ClassVar[str]
    account: ClassVar[str]
    """The user that runs it when the program is root."""
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    _orphan_signal: ClassVar[str] = "KILL"

    def __init__(self, *, durable: bool = False, listen: str = ADDRESS) -> None:
        self.durable = durable
        self.listen = listen
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"tidegate-{self.name}-"))
        self.password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False
        self._own(self.folder)

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it, with user and password."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data, once."""

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves. May raise OSError while it does not."""

    @property
    def pid(self) -> int:
        """Of its first process."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running.")
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers. Raises MissingProgram and ServerFailed."""
        if self._process is not None:
            raise ServerFailed(f"{self.name} is running already.")
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self._process = self._launch(self._command(), self._environment())
        self._wait(self._process, self._answers)

    def stop(self) -> None:
        """Ask it to end, and wait until all its processes are gone."""
        if self._process is None:
            return
        self.resume()
        gone = Processes(self.pid)
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            gone = Processes(self.pid)
        gone.send(signal.SIGKILL)  # whatever it has left behind
        self._reap(gone)

    def kill(self) -> None:
        """SIGKILL to all its processes; returns when they are gone."""
        gone = Processes(self.pid)
        gone.send(signal.SIGKILL)
        self._reap(gone)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing, until `resume`."""
        Processes(self.pid).send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        Processes(self.pid).send(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reap(self, processes: Processes) -> None:
        assert self._process is not None
        self._process.wait(STOP_DEADLINE_S)
        processes.wait(STOP_DEADLINE_S)
        self._process = None

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def _own(self, path: Path) -> None:
        """Give a path to the account that runs the server."""
        if os.geteuid() == 0 and self.account != "root":
            with contextlib.suppress(KeyError):  # then the package is missing, which `program` says
                entry = pwd.getpwnam(self.account)
                os.chown(path, entry.pw_uid, entry.pw_gid)

    def _as_account(self, command: Sequence[str], *extra: str) -> list[str]:
        if os.geteuid() == 0 and self.account != "root":
            who = [f"--reuid={self.account}", f"--regid={self.account}", "--init-groups"]
        else:
            who = []
        return ["setpriv", *who, *extra, "--", *command]

    def _launch(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        full = self._as_account(command, f"--pdeathsig={self._orphan_signal}")
        with (self.folder / "log").open("ab") as log:
            return _starter.submit(
                subprocess.Popen[bytes], full, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=dict(environment), start_new_session=True,
            ).result()  # fmt: skip

    def _once(self, command: Sequence[str]) -> None:
        """Run a program of preparation to its end."""
        done = subprocess.run(
            self._as_account(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            cwd=self.folder, env=dict(self._environment()), timeout=START_DEADLINE_S,
        )  # fmt: skip
        if done.returncode:
            raise ServerFailed(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")

    def _wait(self, process: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            with contextlib.suppress(OSError):
                if answers():
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(_LOOK_S)
                self._process = None
                raise ServerFailed(f"{self.name} ended at once with {status}. Its log:\n{self.log[-4000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(
                    f"{self.name} did not answer in {START_DEADLINE_S} s. Its log:\n{self.log[-4000:]}"
                )

    def _connect(self) -> socket.socket:
        return socket.create_connection((ADDRESS, self.port), timeout=1)
