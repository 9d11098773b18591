"""`tidegate serve`: a server behind Uvicorn, from its first line to its last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from tidegate.app.folders import server_file
from tidegate.app.server import Server
from tidegate.app.wiring import registration
from tidegate.errors import Unavailable
from tidegate.runtime import heap
from tidegate.settings import Settings
from tidegate.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from tidegate.discovery.registration import Registration

log = logging.getLogger("tidegate.app")

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while another one wants it. Python's 5 ms would be felt in every answer
that is given while the scheduler thinks."""


def serve(settings: Settings, *, announce: Callable[[str], None] = print) -> int:
    """Run a server until SIGINT or SIGTERM; `announce` gets its address once it answers. The exit status.

    A second signal while it stops ends the grace of running jobs at once, and so do more.
    """
    configure_logging(settings.log_level, settings.log_file, json=None, to=settings.log_to)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    heap.share_arenas()
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = Server(settings)
    with contextlib.closing(listening), _Signals() as signals:
        app = server.start()
        entry = registration(settings, port, lambda: server.service.ready().results)
        try:
            # On a shared path it would tell commands on other machines of a server that is not theirs.
            noted = contextlib.nullcontext() if server.clustered else server_file(server.folders.root, url)
            with noted:
                _Http(app, _moments(server, announce, url, entry), signals, server.hurry).run(listening)
            log.info("Stopping: running jobs get %g s to finish.", settings.grace_s)
        finally:
            signals.then(server.hurry)
            if entry is not None:
                entry.close()
            server.stop()
    return 0


@dataclass(frozen=True, slots=True)
class _Moments:
    """What is done on the event loop once the server answers, and as soon as it shall take no more requests."""

    began: Callable[[], None]
    ending: Callable[[], None]


def _moments(
    server: Server, announce: Callable[[str], None], url: str, entry: Registration | None
) -> _Moments:
    def began() -> None:
        server.loop_lag.watch(asyncio.get_running_loop())
        announce(url)
        if entry is not None:
            entry.start()

    return _Moments(began, entry.leave if entry is not None else lambda: None)


class _Signals:
    """SIGINT and SIGTERM, from before the server starts until it has stopped.

    While it starts they end the start, with what that has begun; later each does what `then` was last given.
    """

    def __init__(self) -> None:
        self._action: Callable[[], None] | None = None

    def __enter__(self) -> _Signals:
        self._earlier = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def then(self, action: Callable[[], None]) -> None:
        """From now on a signal does this."""
        self._action = action

    def _ask(self, number: int, frame: object) -> None:
        if self._action is not None:
            self._action()
            return
        self._action = lambda: None  # what has begun is being ended: once is enough
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(0)


class _Http:
    """Uvicorn with our own signals: it would end the process by the signal itself, before jobs are put back."""

    def __init__(self, app: FastAPI, moments: _Moments, signals: _Signals, hurry: Callable[[], None]) -> None:
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
        self._server = _Uvicorn(config, moments)
        self._hurry = hurry
        signals.then(self._ask)

    def run(self, listening: socket.socket) -> None:
        """Until a signal; a second one does not wait for answers that are under way."""
        self._server.run(sockets=[listening])

    def _ask(self) -> None:
        if self._server.should_exit:
            self._server.force_exit = True
            self._hurry()
        self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, moments: _Moments) -> None:
        super().__init__(config)
        self._moments = moments

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._moments.began()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._moments.ending()
        await super().shutdown(sockets)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.share_port:  # only processes of one user can: nobody else takes connections away
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
