"""A double of a Consul agent: the calls that Tidegate makes, and nothing but what their documentation allows.

https://developer.hashicorp.com/consul/api-docs/agent/service and .../agent/check, as of Consul 1.20.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SERVICE_FIELDS = {
    "Name", "ID", "Tags", "Address", "TaggedAddresses", "Meta", "Namespace", "Port", "SocketPath", "Kind", "Proxy", "Connect",
    "Check", "Checks", "EnableTagOverride", "Weights", "Locality", "Partition",
}  # fmt: skip
CHECK_FIELDS = {
    "Name", "ID", "CheckID", "Interval", "Notes", "DeregisterCriticalServiceAfter", "Args", "AliasNode", "AliasService",
    "DockerContainerID", "GRPC", "GRPCUseTLS", "H2PING", "H2PingUseTLS", "HTTP", "Method", "Body", "DisableRedirects",
    "Header", "Timeout", "OutputMaxSize", "TLSServerName", "TLSSkipVerify", "TCP", "TCPUseTLS", "UDP", "OSService", "TTL",
    "ServiceID", "Status", "SuccessBeforePassing", "FailuresBeforeWarning", "FailuresBeforeCritical", "Shell",
}  # fmt: skip
STATES = {"passing", "warning", "critical"}
DURATION = re.compile(r"(\d+)(s|m|h)")
WITHIN_S = 30.0


class ConsulDouble:
    """An agent on a port of loopback. `services` and `checks` are what it knows, by id."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.services: dict[str, dict[str, Any]] = {}
        self.checks: dict[str, dict[str, Any]] = {}
        self.refused: list[str] = []
        self.calls = 0
        self.unknown: tuple[int, str] = (404, 'Unknown check ID "{id}". Ensure that the check ID is passed')
        self.hangs = threading.Event()
        self.loses_answers = threading.Event()
        self._changed = threading.Condition()
        self._http: ThreadingHTTPServer | None = None
        self.port = 0

    def __enter__(self) -> ConsulDouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hangs.clear()
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before."""
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                double._answer(self, "PUT", self.rfile.read(length))

            def do_GET(self) -> None:
                double._answer(self, "GET", b"")

            def log_message(self, format: str, *args: object) -> None: ...

        self._http = _Listener(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Go away, with all connections."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def forget(self) -> None:
        """As an agent does that begins anew without its data."""
        with self._changed:
            self.services.clear()
            self.checks.clear()

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for a call after which this holds."""
        deadline = time.monotonic() + WITHIN_S
        with self._changed:
            while not holds():
                assert self._changed.wait(deadline - time.monotonic()), f"not within {WITHIN_S:g} s"

    def _answer(self, request: BaseHTTPRequestHandler, method: str, body: bytes) -> None:
        while self.hangs.is_set():
            time.sleep(0.01)  # an agent that stands still; only the caller's own time limit ends this
        with self._changed:
            self.calls += 1
            status, text = self._judge(request, method, body)
            if status == 400:
                self.refused.append(text)
            self._changed.notify_all()
        request.close_connection = self._http is None or self.loses_answers.is_set()
        if self.loses_answers.is_set():
            return
        request.send_response(status)
        request.send_header("Content-Length", str(len(text.encode())))
        request.end_headers()
        request.wfile.write(text.encode())

    def _judge(self, request: BaseHTTPRequestHandler, method: str, body: bytes) -> tuple[int, str]:
        url = urlsplit(request.path)
        if (method, url.path) == ("GET", "/v1/status/leader"):
            return 200, '"127.0.0.1:8300"'
        if self.token is not None and request.headers.get("X-Consul-Token") != self.token:
            return 403, "Permission denied: token with AccessorID lacks permission 'service:write'"
        known: dict[str, Callable[[str, dict[str, Any]], tuple[int, str]]] = {
            "/v1/agent/service/register": self._register,
            "/v1/agent/check/update/": self._update,
            "/v1/agent/service/deregister/": self._deregister,
        }
        if set(parse_qs(url.query)) - {"replace-existing-checks", "ns", "dc"}:
            return 400, f"unknown parameters: {url.query}"
        for path, act in known.items():
            if method == "PUT" and (url.path == path or (path.endswith("/") and url.path.startswith(path))):
                return act(unquote(url.path.removeprefix(path)), json.loads(body) if body else {})
        return 404, f"404 page not found: {method} {url.path}"

    def _register(self, _: str, body: dict[str, Any]) -> tuple[int, str]:
        check = body.get("Check", {})
        if wrong := sorted(
            (set(body) - SERVICE_FIELDS) | {f"Check.{name}" for name in set(check) - CHECK_FIELDS}
        ):
            return 400, f"not documented: {wrong}"
        if not isinstance(body.get("Name"), str) or not isinstance(body.get("Port"), int):
            return 400, "Name is a string and Port an int"
        if not all(isinstance(text, str) for text in body.get("Meta", {}).values()):
            return 400, "Meta maps strings to strings"
        if "TTL" not in check or check.get("Status") not in STATES:
            return 400, "the check needs TTL and a Status"
        for name in ("TTL", "DeregisterCriticalServiceAfter"):
            if not DURATION.fullmatch(check.get(name, "1m")):
                return 400, f"{name} is no duration"
        if seconds(check.get("DeregisterCriticalServiceAfter", "1m")) < 60:
            return 400, "DeregisterCriticalServiceAfter is at least a minute"
        self.services[body["ID"]] = body
        self.checks[check.get("CheckID", f"service:{body['ID']}")] = {
            "Status": check["Status"], "Output": "", "ServiceID": body["ID"]
        }  # fmt: skip
        return 200, ""

    def _update(self, check_id: str, body: dict[str, Any]) -> tuple[int, str]:
        if set(body) - {"Status", "Output"} or body.get("Status") not in STATES:
            return 400, f"Invalid check status: {body}"
        if check_id not in self.checks:
            status, text = self.unknown
            return status, text.format(id=check_id)
        self.checks[check_id] |= body
        return 200, ""

    def _deregister(self, service_id: str, body: dict[str, Any]) -> tuple[int, str]:
        if service_id not in self.services:
            return (
                404,
                f'Unknown service ID "{service_id}". Ensure that the service ID is passed, not the service name.',
            )
        del self.services[service_id]
        self.checks = {name: check for name, check in self.checks.items() if check["ServiceID"] != service_id}
        return 200, ""


class _Listener(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A caller that was killed while it was answered."""


def seconds(duration: str) -> int:
    found = DURATION.fullmatch(duration)
    assert found is not None
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
