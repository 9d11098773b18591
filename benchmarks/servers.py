"""Servers as processes: started, asked, measured, stopped and killed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tidegate.app.folders import instance_of

ROOT = Path(__file__).resolve().parent.parent
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 30.0
_INSTANCE = b"TIDEGATE_INSTANCE="


def environment_of(settings: Mapping[str, object]) -> dict[str, str]:
    """Of a server with these settings and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return environment | {f"TIDEGATE_{name.upper()}": str(value) for name, value in settings.items()}


class ServerProcess:
    """A server that prints its address as its first line. What it logs goes to `log` in the folder given."""

    def __init__(
        self, command: Sequence[str], folder: Path, settings: Mapping[str, object] | None = None
    ) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "server.log"
        environment = environment_of(settings or {})
        self.started_at = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command], stdout=subprocess.PIPE, stderr=log, env=environment, cwd=ROOT
            )
        self.port = self._address()

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Ask it to end and wait. Raises RuntimeError when it does not, or not with status 0."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(
                f"The server did not stop within {ENDS_WITHIN_S:g} s.\n{self.tail()}"
            ) from None
        self._hang_up()
        if status:
            raise RuntimeError(f"The server ended with status {status}.\n{self.tail()}")

    def kill(self) -> None:
        """As a crash would: kill -9."""
        self.process.kill()
        self.process.wait()
        self._hang_up()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def _hang_up(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _address(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode().strip()
        found = re.search(r"http://[^/ ]*:(\d+)", line)
        if found is None:
            self.kill()
            raise RuntimeError(f"The server did not print its address but {line!r}.\n{self.tail()}")
        return int(found.group(1))


def tidegate(folder: Path, settings: Mapping[str, object] | None = None) -> ServerProcess:
    """`tidegate serve` on a free port, as a user starts it."""
    return ServerProcess(command_of(folder), folder, settings)


def command_of(folder: Path) -> list[str]:
    """The command that `tidegate` starts."""
    return [sys.executable, "-m", "tidegate", "serve", "--port", "0", "--data-dir", str(folder / "data")]


def machinery(folder: Path, settings: Mapping[str, object] | None = None) -> ServerProcess:
    """The application without the work; see `serving.py`."""
    command = [sys.executable, "-m", "benchmarks.serving", str(folder / "data")]
    return ServerProcess(command, folder, settings)


@contextlib.contextmanager
def running(
    start: Callable[[Path, Mapping[str, object]], ServerProcess], *, kill: bool = False, **settings: object
) -> Iterator[ServerProcess]:
    """A server on a folder of its own while the block runs. It has to stop cleanly afterwards, unless it is to be killed."""
    with scratch() as folder:
        server = start(folder, settings)
        try:
            yield server
        except BaseException:
            server.kill()
            print(server.tail(), file=sys.stderr)
            raise
        if kill:
            server.kill()
        else:
            server.stop()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def database(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The database of a server, to read."""
    uri = f"file:{data_dir / 'tidegate.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        yield connection


def processes_of(data_dir: Path) -> list[int]:
    """Sandbox processes (zygote, keepers, attempts) of the servers of a data directory, by the mark in their environment."""
    mark = _INSTANCE + instance_of(data_dir.resolve()).encode() + b"\0"
    return [pid for pid in _all_pids() if mark in _read(f"/proc/{pid}/environ") + b"\0"]


def working_below(folder: Path) -> dict[int, str]:
    """Living processes whose working folder is below this one, each with that folder: the attempts of a server.

    Zombies have no working folder, and are no living processes.
    """
    prefix = f"{folder}/"
    found = {}
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            place = os.readlink(f"/proc/{pid}/cwd")
            if place.startswith(prefix):
                found[pid] = place
    return found


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        for thread in _names(f"/proc/{one}/task"):
            todo.extend(map(int, _read(f"/proc/{one}/task/{thread}/children").split()))
    return found


def memory(pids: Sequence[int]) -> tuple[int, int]:
    """Resident bytes summed over processes, and the same with shared pages divided among those that share them (PSS)."""
    rss = pss = 0
    for pid in pids:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Rss:"):
                rss += int(line.split()[1]) * 1024
            elif line.startswith(b"Pss:"):
                pss += int(line.split()[1]) * 1024
    return rss, pss


def cpu_s(pid: int, *, with_children: bool = False) -> float:
    """CPU seconds a process has used, in itself and the kernel; with those of the children it has waited for, if told."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    ticks = fields[11 : 15 if with_children else 13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def waited_s(pid: int) -> float:
    """Seconds that the main thread of a process, which serves HTTP in ours, was ready to run and had no CPU."""
    return int(_read(f"/proc/{pid}/task/{pid}/schedstat").split()[1]) / 1e9


def wait_until(holds: Callable[[], bool], within_s: float, every_s: float = 0.02) -> bool:
    """Whether it came to hold in time."""
    until = time.monotonic() + within_s
    while not (held := holds()) and time.monotonic() < until:
        time.sleep(every_s)
    return held


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
