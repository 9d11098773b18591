"""The port of its own on which a server or worker shows its metrics (`metrics_port`), to whoever reaches it.

Loaded only where that is set. Processes of one user on one machine may share the port; see `siblings`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from tidegate.errors import Unavailable
from tidegate.telemetry.meters import Meters
from tidegate.telemetry.pages import Pages
from tidegate.telemetry.siblings import Siblings

__all__ = ["MetricsPort"]

MOST_AT_ONCE = 8
"""Connections that are answered at a time; more wait."""
STALLS_AFTER_S = 5.0
"""So long a client may say nothing, and one more than there are places waits for one."""
OVER_AFTER_S = 15.0
"""A connection that is not over then is cut: Prometheus gives up after 10 s."""


class MetricsPort:
    """Answers `GET /metrics` on a port until it is closed. Raises Unavailable when it cannot listen there."""

    def __init__(self, host: str, port: int, meters: Meters, role: str) -> None:
        try:
            self._server = _Server(host, port)
            self.port: int = self._server.server_address[1]
            self._siblings = Siblings(f"{host}:{self.port}", role, meters.samples)
        except OSError as error:
            raise Unavailable(
                f"Cannot listen on {host}:{port} for metrics: {error.strerror or error}. "
                "Choose another `metrics_port`, or none."
            ) from None
        self._server.pages = Pages(meters, self._siblings)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="tidegate-metrics-port", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._siblings.close()


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_port = True

    def __init__(self, host: str, port: int) -> None:
        self.pages: Pages
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._over_at_s: dict[socket.socket, float] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name that `HTTPServer` makes, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Waits for a place only for some seconds: while it waits, the port can neither cut connections nor be closed."""
        if not self._places.acquire(timeout=STALLS_AFTER_S):
            self.shutdown_request(request)
            return
        self._over_at_s[request] = time.monotonic() + OVER_AFTER_S
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread more is to be had
            self._leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: Any) -> None:
        del self._over_at_s[request]
        self._places.release()

    def service_actions(self) -> None:
        """Now and then: cut connections that last too long, such as of a client that sends a byte every few seconds."""
        now_s = time.monotonic()
        for link, over_at_s in list(self._over_at_s.items()):
            if over_at_s < now_s:
                with contextlib.suppress(OSError):  # it is over meanwhile
                    link.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked went away, or stalled."""


class _Handler(BaseHTTPRequestHandler):
    timeout = STALLS_AFTER_S
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "Metrics are at /metrics.")
            return
        body, content_type = self.server.pages.page(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is nothing to tell of."""
