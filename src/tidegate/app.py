"""Assembles: settings in, a running server out. The only file that chooses concrete classes."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import uvicorn
from fastapi import FastAPI

from tidegate.api import create_app
from tidegate.api.files import INCOMING
from tidegate.core.names import INTERACTIVE_QUEUE
from tidegate.errors import SettingError, Unavailable
from tidegate.ports import Launcher, WorkerInfo, Workload
from tidegate.runtime.bell import LocalBell
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.doctor import examine
from tidegate.runtime.local import LocalLauncher
from tidegate.runtime.probe import MachineProbe
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.sandbox import Sandboxes
from tidegate.runtime.worker import Worker, WorkerRules
from tidegate.server.cycle import Cycle
from tidegate.server.drain import DrainMeter
from tidegate.server.intake import Intake
from tidegate.server.judge import DEFAULT_QUEUE, Rules
from tidegate.server.progress import ProgressBoard
from tidegate.server.service import Service
from tidegate.server.services.duty import DutyRunner
from tidegate.server.services.janitor import Janitor
from tidegate.server.services.rescue import Rescue
from tidegate.server.services.wake import Wake
from tidegate.settings import Settings
from tidegate.store import open_store
from tidegate.telemetry import configure_logging
from tidegate.workloads.registry import load_workloads

log = logging.getLogger("tidegate.app")

LOCAL_WORKER = "local"
SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while another one wants it. Python's 5 ms would be felt in every answer
that is given while the scheduler thinks."""
LEAST_FREE_DISK_SHARE = 0.02
GC_THRESHOLDS = (20_000, 50, 100)
"""A full collection with 100,000 waiting tasks takes 80 ms, in which no request is answered. Python's defaults begin one
every few seconds under load; the program makes few cycles, so they may be rarer."""


class Server:
    """An embedded server: store, scheduler, worker and API in one process, with sandboxes beside it.

    `launcher` replaces the worker inside, for tests and benchmarks of the machinery without the work.
    """

    def __init__(self, settings: Settings, *, launcher: Callable[[Any], Launcher] | None = None) -> None:
        self.settings = settings
        self.folders = DataFolders(settings.data_dir.expanduser().resolve())
        self.clock = SystemClock()
        self.bell = LocalBell()
        self._closing = contextlib.ExitStack()
        self._make_launcher = launcher
        self.worker: Worker | None = None

    def start(self) -> FastAPI:
        """Open the data directory, recover what an earlier server left, begin to schedule; the API's application.

        Raises Unavailable when another server uses the data directory.
        """
        try:
            return self._start()
        except BaseException:
            self._closing.close()
            raise

    def stop(self) -> None:
        """Refuse new work, give running attempts their grace, put back what did not finish, close everything."""
        self._closing.close()

    def _start(self) -> FastAPI:
        self._open_folders()
        workloads = load_workloads()
        database = self.folders.root / "tidegate.db"
        self.store = open_store(f"sqlite:///{database}", max_concurrent=self.settings.max_concurrent)
        self._closing.callback(self.store.close)
        self.store.set_queue(DEFAULT_QUEUE)  # so that it can be paused before its first job comes
        drain = DrainMeter(self.clock.monotonic())
        board = ProgressBoard(self.bell)
        launcher = self._start_worker(board, workloads)
        self._start_duties()
        self.cycle = Cycle(self.store, launcher, self.bell, self.clock, drain=drain)
        self.cycle.run_once()
        self.cycle.start()
        self._closing.callback(self.cycle.stop)
        rules = Rules(
            workloads=workloads,
            data_dir=str(self.folders.root),
            source_roots=tuple(str(root.expanduser().resolve()) for root in self.settings.source_roots),
            default_timeout_s=self.settings.default_timeout_s,
            sources_named=self.store.sources_named,
        )
        intake = Intake(
            self.store, self.cycle, rules, self.bell, self.clock, drain, self.settings.max_waiting
        )
        intake.start()
        self._closing.callback(intake.stop)
        self.service = Service(
            settings=self.settings,
            store=self.store,
            intake=intake,
            cycle=self.cycle,
            launcher=launcher,
            bell=self.bell,
            clock=self.clock,
            board=board,
            workloads=workloads,
            logs=self.folders.logs,
            checks=self._checks,
        )
        self._closing.callback(self.service.close)
        app = create_app(self.service)
        _collect_garbage_rarely()
        return app

    def _open_folders(self) -> None:
        try:
            self.folders.open()
            self._closing.callback(_lock(self.folders.root).close)
        except OSError as error:
            raise SettingError(
                f"The data directory {self.folders.root} cannot be used: {error.strerror}. "
                "Choose another one with --data-dir."
            ) from None

    def _start_worker(self, board: ProgressBoard, workloads: Mapping[str, Workload]) -> Launcher:
        if self._make_launcher is not None:
            return self._make_launcher(self)
        probe = MachineProbe(self.folders.root)
        sandboxes = Sandboxes(
            instance=instance_of(self.folders.root),
            rung=self.settings.enforcement,
            yield_cpu=self.settings.yield_cpu,
            preload=sorted({workload.runner.partition(":")[0] for workload in workloads.values()}),
        )

        def describe() -> WorkerInfo:
            capacity = probe.capacity()
            return WorkerInfo(
                id=LOCAL_WORKER,
                hostname=socket.gethostname(),
                capacity=capacity,
                allocatable=self.settings.allocatable(capacity),
                versions={"tidegate": version("tidegate"), "python": sys.version.split()[0]},
            )

        rules = WorkerRules(
            beat_s=self.settings.beat_s,
            lease_s=self.settings.lease_s,
            max_losses=self.settings.max_losses,
            interactive_queue=INTERACTIVE_QUEUE,
        )
        runners = {kind: workload.runner for kind, workload in workloads.items()}
        self.worker = Worker(
            self.store,
            sandboxes,
            self.folders,
            describe,
            self.bell,
            self.clock,
            board,
            runners,
            rules,
        )
        self.worker.start()
        self._closing.callback(self.worker.stop, self.settings.grace_s)
        return LocalLauncher(self.worker)

    def _start_duties(self) -> None:
        """Recover from an earlier end first; nothing runs yet, so whatever is left over is nobody's."""
        rescue = Rescue(
            self.store,
            self.bell,
            self.clock,
            interval_s=min(self.settings.lease_s / 4, 5.0),
            max_losses=self.settings.max_losses,
            lease_s=self.settings.lease_s,
        )
        janitor = Janitor(
            self.store,
            results=self.folders.results,
            attempts=self.folders.attempts,
            logs=self.folders.logs,
            incoming=self.folders.files / INCOMING,
            retention=timedelta(days=self.settings.retention_days),
        )
        rescue.run_once(self.clock.now())
        janitor.at_start()
        runner = DutyRunner([rescue, Wake(self.store, self.bell), janitor], self.clock)
        runner.start()
        self._closing.callback(runner.stop)

    def _checks(self) -> Mapping[str, str | None]:
        disk = shutil.disk_usage(self.folders.root)
        full = disk.free < LEAST_FREE_DISK_SHARE * disk.total
        dead = self.worker is not None and not self.worker.alive
        return {
            "store": _fault(self.store.queues),
            "worker": "The worker has ended; restart the server." if dead else None,
            "disk": f"Only {disk.free} bytes are free in {self.folders.root}." if full else None,
        }


def serve(settings: Settings, *, announce: Callable[[str], None] = print) -> int:
    """Run a server until SIGINT or SIGTERM; `announce` gets its address once it answers. The exit status.

    A second signal while it stops ends the grace of running jobs at once.
    """
    configure_logging(settings.log_level, settings.log_file, json=not sys.stderr.isatty())
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = Server(settings)
    with contextlib.closing(listening):
        app = server.start()
        try:
            with _server_file(server.folders.root, url):
                _Http(app, listening, lambda: announce(url), log_level=settings.log_level).run()
        finally:
            server.stop()
    return 0


def doctor(settings: Settings) -> dict[str, Any]:
    """What this machine offers and what is missing, as JSON values."""
    return examine(settings)


def instance_of(data_dir: Path) -> str:
    """A short name of a data directory, to find processes and groups that an earlier server of it left."""
    return hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]


def _collect_garbage_rarely() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class _Http:
    """Uvicorn with our own signals: it would end the process by the signal itself, before jobs are put back."""

    def __init__(
        self, app: FastAPI, listening: socket.socket, started: Callable[[], None], *, log_level: str
    ) -> None:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nobody is believed about who asked
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=75,
            backlog=1024,
        )
        self._server = _Uvicorn(config, started)
        self._listening = listening

    def run(self) -> None:
        earlier = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._server.run(sockets=[self._listening])
        finally:
            for number in earlier:
                signal.signal(
                    number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
                )

    def _ask(self, number: int, frame: object) -> None:
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Choose another --port (0 picks a free one)."
        ) from None
    listening.listen(1024)
    return listening


def _lock(data_dir: Path) -> IO[str]:
    """Hold the data directory for this process; the kernel lets go when it ends, however it ends."""
    file = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Unavailable(
            f"The data directory {data_dir} is in use by another server (process {holder}). "
            "Stop it, or choose another --data-dir."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


@contextlib.contextmanager
def _server_file(data_dir: Path, url: str) -> Iterator[None]:
    """`server.json`, by which commands on this machine find the server."""
    path = data_dir / "server.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"pid": os.getpid(), "url": url}))
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _fault(look: Callable[[], object]) -> str | None:
    try:
        look()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return f"{type(error).__name__}: {error}"
    return None


__all__ = ["Server", "doctor", "instance_of", "serve"]
