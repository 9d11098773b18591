"""What every request passes before and after its route: plain ASGI, since this runs for each of them.

In: `/health` is answered at once; requests under a foreign name or from another site's page are refused; bodies must be
JSON; whose key it is becomes the request's caller; then comes the gate of its kind of work. Out: a request id, headers that
keep browsers from guessing, one log line at debug level, and a problem for what nobody caught.

The busiest routes are entered from here. The way through FastAPI's router and its handling of requests took 0.13 of the
0.15 ms that a submission spent in the API; the function that it ends at is the same.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.api.admission import TICKET, Admission, Passage
from tidegate.api.budget import BodyBudget
from tidegate.api.lanes import HEADER, Work, criticality_of, way_of
from tidegate.api.problems import Refusal, internal_problem, problem_response, respond
from tidegate.errors import TidegateError
from tidegate.server.doorkeeper import Doorkeeper
from tidegate.settings import Settings
from tidegate.telemetry.logs import bind
from tidegate.telemetry.meters import Exemplar, Meters
from tidegate.telemetry.tracing import NO_TRACING, Tracing

log = logging.getLogger("tidegate.access")

HEALTH_PATHS = frozenset({"/health", "/api/v1/health"})
HEALTH_BODY = b'{"status":"healthy"}'
FILES_PREFIX = "/api/v1/files/"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
TRACEPARENT = b"traceparent"
"""The header of W3C's trace context."""
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_HEALTH_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(HEALTH_BODY)).encode()),
        _NO_STORE,
        _NOSNIFF,
    ],
}


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Host names the server answers to; None when to any.

    A server on loopback is reached by the pages a user visits, under any name they let point to 127.0.0.1 (DNS
    rebinding), so it answers only to the names of loopback. Elsewhere the names are the administrator's to give.
    """
    given = {name.lower() for name in settings.allowed_hosts}
    host = settings.host.lower()
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    loopback = host in _LOOPBACK or host.startswith("127.")
    if "*" in given or not (given or loopback):
        return None
    return frozenset({*_LOOPBACK, host, *given})


Endpoint = Callable[[Request], Awaitable[Response]]
Entrance = Callable[[Scope], Endpoint | None]
"""Gives the endpoint of a request that needs no router: one that reads and checks all of the request by itself, and raises
nothing but TidegateError. None for any other request."""


def no_entrance(scope: Scope) -> Endpoint | None:
    return None


class Guard:
    """ASGI around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str] | None,
        bodies: BodyBudget,
        door: Doorkeeper | None,
        admission: Admission | None,
        entrance: Entrance = no_entrance,
        meters: Meters | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._app = app
        self._bodies = bodies
        self._hosts = hosts
        self._door = door
        self._admission = admission
        self._entrance = entrance
        self._meters = meters or Meters()
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in HEALTH_PATHS and scope["method"] in ("GET", "HEAD"):
            await send(_HEALTH_START)
            await send(
                {"type": "http.response.body", "body": HEALTH_BODY if scope["method"] == "GET" else b""}
            )
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers)
        scope["request_id"] = request_id.decode()
        # For whatever is logged in this task, which is this request's alone.
        bind(request_id=scope["request_id"])
        status, whole = 0, False
        began = time.perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _marked(message["headers"], request_id)}
                if (span := scope.get("span")) is not None and span.context:
                    message["headers"].append((TRACEPARENT, span.context.encode()))
            else:
                whole = not message.get("more_body", False)
            await send(message)

        try:
            if (refusal := self._refusal(scope, headers)) is not None:
                await problem_response(refusal)(scope, receive, send_marked)
            else:
                await self._answer(scope, headers, receive, send_marked)
        except ClientDisconnect:
            log.debug("The client went away.", extra={"request_id": scope["request_id"]})
        except Exception:
            log.exception(
                "A request failed.", extra={"request_id": scope["request_id"], "path": scope["path"]}
            )
            if not status:
                await respond(internal_problem())(scope, receive, send_marked)
            elif not whole:
                raise  # half an answer is out: only closing the connection tells the client
        finally:
            self._bodies.release(scope)
            self._count(scope, status, time.perf_counter() - began)
            self._end_span(scope, status)
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s", _access_line(scope, status, time.perf_counter() - began))

    def _count(self, scope: Scope, status: int, took_s: float) -> None:
        """What was refused before it was looked at is no work of any kind."""
        work = scope.get("work")
        if work is None:
            return
        told = _CLASSES[status // 100]
        self._meters.count("tidegate_http_requests_total", work.value, told)
        if work is not Work.STREAM:
            exemplar = _exemplar(scope, took_s) if self._meters.exemplars else None
            self._meters.observe(
                "sql_linting_request_duration_seconds", took_s, work.value, told, exemplar=exemplar
            )

    def _begin_span(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """A submission is where a trace of ours begins, or where one of its client's comes in."""
        given = headers.get(TRACEPARENT)
        parent = None if given is None else given.decode("latin-1")
        span = self._tracing.begin(f"{scope['method']} {scope['path']}", parent)
        scope["span"] = span
        scope["caller"] = scope["caller"] and replace(scope["caller"], traceparent=span.context)

    def _end_span(self, scope: Scope, status: int) -> None:
        span = scope.get("span")
        if span is not None:
            told = {"http.request.method": scope["method"], "url.path": scope["path"],
                    "http.response.status_code": status, "tidegate.request_id": scope["request_id"]}  # fmt: skip
            span.end(attributes=told, error=None if status < 500 else f"Answered with {status}.")

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        passage: Passage | None = None
        try:
            try:
                await self._admit(scope, headers)
                passage = await self._enter(scope, headers)
                endpoint = self._entrance(scope)
                response = None if endpoint is None else await endpoint(Request(scope, receive))
            except TidegateError as error:
                response = problem_response(error)
            await (response or self._app)(scope, receive, send)
        finally:
            if passage is not None:
                passage.leave()

    async def _enter(self, scope: Scope, headers: dict[bytes, bytes]) -> Passage | None:
        """Pass the gate of this kind of work; with a body that is to be read whole, `read_body` does it, after that. The way
        through, to be left in the end; None for what passes none. Raises `rate_limited`, `overloaded`.
        """
        way = way_of(scope["method"], scope["path"], scope["query_string"])
        scope["work"] = way.work
        if way.work is Work.SUBMIT and self._tracing.on:
            self._begin_span(scope, headers)
        if way.work is Work.CONTROL:
            return None
        assert self._admission is not None
        await self._admission.count(scope["caller"])
        wanted = headers.get(HEADER)
        criticality = criticality_of(
            way, None if wanted is None else wanted.decode("latin-1"), scope["caller"]
        )
        passage = self._admission.passage(way, criticality, headers.get(TICKET))
        scope["passage"] = passage
        if way.work is Work.STREAM or not _has_body(headers):
            await passage.enter()
        return passage

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Name the caller, before any body is read. Raises AccessDenied for a key that opens nothing."""
        client = scope.get("client")
        address = client[0] if client else None
        assert self._door is not None
        scope["caller"] = await self._door.admit(_key_of(headers), address, scope["request_id"])

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._hosts is not None and host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            return Refusal(
                "host_not_allowed",
                f"This server does not answer under the name {host!r:.100}. Set `allowed_hosts` if it should.",
            )
        if scope["method"] not in _CHANGING:
            return None
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin and origin.partition("://")[2] != host:
            return Refusal("cross_origin", f"A page of {origin!r:.100} may not change anything here.")
        if headers.get(b"sec-fetch-site", b"") == b"cross-site":
            return Refusal("cross_origin", "A page of another site may not change anything here.")
        return None if scope["path"].startswith(FILES_PREFIX) else _wrong_type(headers)


def _key_of(headers: dict[bytes, bytes]) -> str | None:
    """The key that a request shows; None without one. What is no `Bearer` is for a proxy and none of ours."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    key = given if scheme.lower() == b"bearer" else headers.get(b"x-api-key")
    return None if key is None else key.strip().decode("latin-1")


def _wrong_type(headers: dict[bytes, bytes]) -> Refusal | None:
    """A body must say that it is JSON: browsers send no such body to another site without asking it first."""
    if not _has_body(headers):
        return None
    given = headers.get(b"content-type", b"").decode("latin-1")
    kind = given.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return None
    return Refusal("unsupported_media_type", f"The body must be `application/json`, not {given!r:.100}.")


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    """The client's own id when it is a plain word, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(8).encode()


def _marked(headers: Any, request_id: bytes) -> list[tuple[bytes, bytes]]:
    marked = [*headers, (b"x-request-id", request_id), _NOSNIFF]
    if not any(name == b"cache-control" for name, _ in marked):
        marked.append(_NO_STORE)
    return marked


def _access_line(scope: Scope, status: int, seconds: float) -> str:
    return json.dumps(
        {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "elapsed_ms": round(seconds * 1000, 3),
        }
    )


__all__ = ["Guard", "allowed_hosts"]


def _exemplar(scope: Scope, took_s: float) -> Exemplar | None:
    """The trace of the request, where it is in one: `traceparent` is version, trace, span and flags with `-` between."""
    span = scope.get("span")
    if span is None or not span.context:
        return None
    return Exemplar(span.context.split("-")[1], took_s, time.time())
