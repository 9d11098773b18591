"""A cluster of real processes that can be hurt: servers and workers on one database, started as a user starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tidegate.testing.network import Island

READY_WITHIN_S = 60.0
ENDS_WITHIN_S = 60.0
_URL = re.compile(r"http://[^/\s]+:\d+")
_OURS = ("TIDEGATE_", "DATABASE_URL", "REDIS_URL", "CELERY_", "NFS_SHARE_ROOT_PATH", "FAKETIME", "LD_PRELOAD")
FAKETIME = next(
    (
        str(path)
        for path in (
            Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
            Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
        )
        if path.exists()
    ),
    None,
)
"""The library that lets a process see another time of day, from Debian's package `libfaketime`; None where it is not."""


class Services(NamedTuple):
    """Addresses of what a cluster stands on, as URLs with `{host}` where the host's name goes."""

    database: str
    redis: str | None
    broker: str

    def environment(self, host: str) -> dict[str, str]:
        found = {"DATABASE_URL": self.database, "CELERY_BROKER_URL": self.broker}
        if self.redis is not None:
            found["REDIS_URL"] = self.redis
        return {name: url.format(host=host) for name, url in found.items()}


class Member:
    """A server or a worker: a process that can be killed, paused and started again, on an island or here.

    What it logs goes to `NAME.log` in the cluster's folder.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        island: Island | None,
        *,
        clocks: bool = True,
    ) -> None:
        self.name = name
        self.island = island
        self.log = folder / f"{name}.log"
        self.url = ""
        self.paused = False
        clocked = clocks and FAKETIME is not None
        program = "tidegate.testing.clocked" if clocked else "tidegate"
        self.command = [sys.executable, "-m", program, *arguments]
        """What is run, on its island if it has one."""
        self.environment = dict(environment)
        self._clock = folder / f"{name}.clock"
        if clocked and FAKETIME is not None:
            self.step_clock(0)
            self.environment |= {
                "LD_PRELOAD": FAKETIME,
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self._process: subprocess.Popen[bytes] | None = None
        self._up = False
        self._heard = threading.Event()
        """Its first line, or that it has ended without one."""

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and return; `wait_ready` waits for its first line."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.island.command(self.command) if self.island else self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
            )
        self.url, self._up, self._heard = "", False, threading.Event()
        threading.Thread(target=self._hear, args=(self._process, self._heard), daemon=True).start()

    def _hear(self, process: subprocess.Popen[bytes], heard: threading.Event) -> None:
        """Read its first line, which a server's address stands in, and whatever it prints until it ends."""
        assert process.stdout is not None
        with process.stdout as output:
            line = output.readline().decode()
            found = _URL.search(line)
            if heard is self._heard:
                self.url, self._up = found.group() if found else "", bool(line)
            heard.set()
            while output.read(4096):
                pass

    @property
    def ready(self) -> bool:
        """Whether it has come up and lives."""
        return self._up and self.alive

    def wait_ready(self, *, supervised: bool = False) -> None:
        """Wait until it is up. `supervised`: one that ends before that, as when it finds the database away, is started
        again, as systemd would. Raises RuntimeError with the end of its log."""
        until = time.monotonic() + READY_WITHIN_S
        while self._heard.wait(until - time.monotonic()):
            if self._up:
                return
            if not supervised:
                raise RuntimeError(f"{self.name} ended before it was up.\n{self.tail()}")
            self._gone()
            self.start()
        raise RuntimeError(f"{self.name} did not come up within {READY_WITHIN_S:g} s.\n{self.tail()}")

    def kill(self) -> None:
        """As a crash would: kill -9."""
        if self._process is not None:
            self._process.kill()
            self._gone()

    def stop(self) -> int:
        """Ask it to end, and wait; its exit status. Raises RuntimeError when it does not end."""
        assert self._process is not None
        self.resume()
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise RuntimeError(
                f"{self.name} did not stop within {ENDS_WITHIN_S:g} s.\n{self.tail()}"
            ) from None
        finally:
            self._gone()

    def pause(self) -> None:
        """Stop it as a debugger would: it keeps what it holds and does nothing. Its sandboxes go on."""
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        if self.paused and self.alive:
            os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def step_clock(self, seconds: float) -> None:
        """Set its time of day this far off. Needs `FAKETIME`."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}\n")
        fresh.replace(self._clock)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def _gone(self) -> None:
        assert self._process is not None
        self._process.wait()
        self.paused = False


class Cluster:
    """Servers and workers on the same services and the same shared folder.

    `settings` are given to all of them as `TIDEGATE_*`. With islands, each worker has a network of its own; with clocks, each
    member's time of day can be set.
    """

    def __init__(
        self,
        folder: Path,
        services: Services,
        settings: Mapping[str, object],
        *,
        servers: int = 2,
        workers: int = 2,
        islands: bool = False,
        clocks: bool = True,
    ) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self.shared.mkdir(parents=True, exist_ok=True)
        self.services = services
        self.islands = [Island(number) for number in range(workers)] if islands else []
        base = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        base |= {f"TIDEGATE_{name.upper()}": str(value) for name, value in settings.items()}
        base["NFS_SHARE_ROOT_PATH"] = str(self.shared)

        def member(name: str, arguments: Sequence[str], island: Island | None) -> Member:
            host = island.hub_address if island else "127.0.0.1"
            return Member(name, arguments, folder, base | services.environment(host), island, clocks=clocks)

        self.servers = [
            member(f"server-{number}", ["serve", "--port", "0"], None) for number in range(servers)
        ]
        self.workers = [
            member(
                f"worker-{number}",
                ["worker", "--name", f"worker-{number}"],
                self.islands[number] if islands else None,
            )
            for number in range(workers)
        ]

    @property
    def members(self) -> list[Member]:
        return [*self.servers, *self.workers]

    def start(self) -> None:
        """Start all, the first server before the others, since it makes the tables."""
        self.servers[0].start()
        self.servers[0].wait_ready()
        for member in self.members[1:]:
            member.start()
        for member in self.members[1:]:
            member.wait_ready()

    def heal(self) -> None:
        """Mend links, wake what sleeps, set clocks right, start what is dead; returns when all are ready."""
        for island in self.islands:
            island.mend()
        for member in self.members:
            member.resume()
            if FAKETIME is not None:
                member.step_clock(0)
            if not member.alive:
                member.start()
        for member in self.members:
            member.wait_ready(supervised=True)

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for member in self.members:
            member.kill()
        for island in self.islands:
            island.close()

    def attempts_alive(self) -> dict[int, str]:
        """Living processes whose working folder is an attempt's, each with that folder."""
        prefix = f"{self.shared}/"
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                place = os.readlink(f"/proc/{name}/cwd")
            except OSError:
                continue
            if place.startswith(prefix):
                found[int(name)] = place
        return found

    def wait_no_attempts(self, within_s: float) -> dict[int, str]:
        """Attempts that still live after this time; empty as soon as there is none."""
        until = time.monotonic() + within_s
        while (left := self.attempts_alive()) and time.monotonic() < until:
            time.sleep(0.05)
        return left
