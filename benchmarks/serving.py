"""Runs the real application with a launcher that plays the worker: `python -m benchmarks.serving DATA_DIR`.

Everything but the work is real: HTTP, intake, scheduling cycle, SQLite. Prints its address as its first line.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from tidegate.app.server import Server
from tidegate.app.serving import SWITCH_INTERVAL_S
from tidegate.core.resources import GIB, Resources
from tidegate.ports import Launcher, WorkerInfo
from tidegate.settings import load_settings
from tidegate.testing.fakes import FakeLauncher

ROOM = Resources(cpu_milli=1_000_000, memory_bytes=100_000 * GIB, disk_bytes=100_000 * GIB)
_LEASE_S = 86400.0
_PR_SET_PDEATHSIG = 1


def make_launcher(server: Any) -> Launcher:
    """A worker with room for everything, whose attempts succeed as soon as they are launched."""
    info = WorkerInfo(id="pretended", hostname="here", capacity=ROOM, allocatable=ROOM)
    server.store.register(info, server.clock.now(), _LEASE_S)
    return FakeLauncher(server.store, server.clock, server.bell, finish=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _serve(given.data_dir)


def _serve(data_dir: Path) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Uvicorn sends itself the signal again once it has ended; by then it shall do nothing.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = Server(load_settings(data_dir=data_dir, port=0), launcher=make_launcher)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        app = server.start()
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            server.stop()


if __name__ == "__main__":
    main()
