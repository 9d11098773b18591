"""Who may ask what: the least role of every route, and the one check of it.

The guard has found out who asks (`scope["caller"]`); a route built by `GuardedRoute` asks `authorize` before anything else,
so before its body is read. What is somebody's own is judged where it is looked up: others' jobs and sources are not found.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute

from tidegate.core.identity import Action, Caller, Role, entry
from tidegate.errors import AccessDenied, BrokenInvariant
from tidegate.server.doorkeeper import unauthenticated

VIEWER, USER, OPERATOR, ADMIN = Role.VIEWER, Role.USER, Role.OPERATOR, Role.ADMIN
ANYBODY = None

ACCESS: dict[tuple[str, str], Role | None] = {
    ("GET", "/health"): ANYBODY,
    ("GET", "/api/v1/health"): ANYBODY,
    ("GET", "/api/v1/health/ready"): ANYBODY,
    ("GET", "/"): VIEWER,
    ("GET", "/openapi.json"): VIEWER,
    ("GET", "/metrics"): VIEWER,
    ("POST", "/api/v1/jobs"): USER,
    ("GET", "/api/v1/jobs"): VIEWER,
    ("POST", "/api/v1/jobs/bulk"): USER,
    ("GET", "/api/v1/jobs/{job_id}"): VIEWER,
    ("POST", "/api/v1/jobs/{job_id}/cancel"): USER,
    ("GET", "/api/v1/jobs/{job_id}/tasks"): VIEWER,
    ("GET", "/api/v1/tasks/{task_id}"): VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/events"): VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/result"): VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/logs"): VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/report"): VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/files"): VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/files/{name:path}"): VIEWER,
    ("GET", "/api/v1/sources"): VIEWER,
    ("POST", "/api/v1/sources"): USER,
    ("GET", "/api/v1/sources/{name}"): VIEWER,
    ("DELETE", "/api/v1/sources/{name}"): USER,
    ("GET", "/api/v1/sources/{name}/preview"): VIEWER,
    ("GET", "/api/v1/sources/{name}/download"): VIEWER,
    ("PUT", "/api/v1/files/{name:path}"): USER,
    ("GET", "/api/v1/queues"): VIEWER,
    ("GET", "/api/v1/queues/{name}"): VIEWER,
    ("PUT", "/api/v1/queues/{name}"): OPERATOR,
    ("PATCH", "/api/v1/queues/{name}"): OPERATOR,
    ("POST", "/api/v1/queues/{name}/pause"): OPERATOR,
    ("POST", "/api/v1/queues/{name}/resume"): OPERATOR,
    ("POST", "/api/v1/query"): USER,
    ("POST", "/api/v1/ingest/preview"): USER,
    ("GET", "/api/v1/capacity"): VIEWER,
    ("GET", "/api/v1/workers"): VIEWER,
    ("GET", "/api/v1/workers/{worker_id}"): VIEWER,
    ("POST", "/api/v1/workers/{worker_id}/drain"): OPERATOR,
    ("POST", "/api/v1/workers/{worker_id}/resume"): OPERATOR,
    ("POST", "/api/v1/workers/{worker_id}/stop"): OPERATOR,
    ("GET", "/api/v1/health/workers"): VIEWER,
    ("GET", "/api/v1/monitoring/workers"): VIEWER,
    ("GET", "/api/v1/monitoring/workers/{worker_id}"): VIEWER,
    ("POST", "/api/v1/monitoring/workers/{worker_id}/control"): OPERATOR,
    ("GET", "/api/v1/monitoring/queues"): VIEWER,
    ("GET", "/api/v1/monitoring/system"): VIEWER,
    ("GET", "/api/v1/monitoring/gates"): VIEWER,
    ("GET", "/api/system/resource-usage"): VIEWER,
    ("GET", "/api/system/executor-stats"): VIEWER,
    ("GET", "/api/system/db-pool-stats"): VIEWER,
    ("GET", "/api/v1/alerts"): VIEWER,
    ("GET", "/api/v1/alerts/rules"): VIEWER,
    ("PATCH", "/api/v1/alerts/rules/{name}"): OPERATOR,
    ("DELETE", "/api/v1/alerts/rules/{name}"): OPERATOR,
    ("GET", "/api/v1/alerts/silences"): VIEWER,
    ("POST", "/api/v1/alerts/silences"): OPERATOR,
    ("DELETE", "/api/v1/alerts/silences/{silence_id}"): OPERATOR,
    ("GET", "/api/v1/alerts/channels"): VIEWER,
    ("POST", "/api/v1/alerts/channels/{name}/test"): OPERATOR,
    ("GET", "/api/v1/alerts/{alert_id}"): VIEWER,
    ("POST", "/api/v1/alerts/{alert_id}/acknowledge"): OPERATOR,
    ("GET", "/api/v1/whoami"): VIEWER,
    ("GET", "/api/v1/keys"): ADMIN,
    ("POST", "/api/v1/keys"): ADMIN,
    ("DELETE", "/api/v1/keys/{key_id}"): ADMIN,
    ("GET", "/api/v1/audit"): OPERATOR,
    ("GET", "/api/v1/usage"): VIEWER,
    ("GET", "/api/v1/usage/resources"): VIEWER,
    ("POST", "/statistics"): VIEWER,  # what only reports need not be able to submit
    ("GET", "/statistics/summary"): VIEWER,
    ("GET", "/api/v1/pressure"): VIEWER,
    ("GET", "/api/v1/pressure/history"): VIEWER,
    ("GET", "/api/v1/pressure/rules"): OPERATOR,
    ("PUT", "/api/v1/pressure/rules"): OPERATOR,
    ("GET", "/api/v1/safe-mode"): VIEWER,
    ("POST", "/api/v1/safe-mode/enter"): OPERATOR,
    ("POST", "/api/v1/safe-mode/leave"): OPERATOR,
    ("GET", "/api/v1/quarantine"): OPERATOR,
    ("GET", "/api/v1/quarantine/{task_id}"): OPERATOR,
    ("POST", "/api/v1/quarantine/{task_id}/release"): OPERATOR,
}
"""The least role of each route. A route that is not here cannot be made."""


def authorize(scope: MutableMapping[str, Any], least: Role | None) -> None:
    """Raise AccessDenied unless who asks has at least this role. Every way to a route's work leads through here."""
    caller = scope.get("caller")
    if least is None:
        return
    if caller is None:
        raise unauthenticated("This server wants an API key.")
    if not caller.role.may(least):
        raise AccessDenied(
            f"The role {caller.role.value!r} may not do this; it takes {least.value!r}. Ask an admin for another key.",
            numbers={"role": caller.role.value, "wanted": least.value},
        )


def caller_of(request: Request) -> Caller:
    """Who asks. Only for routes that not anybody may ask."""
    caller = request.scope["caller"]
    assert isinstance(caller, Caller)
    return caller


async def while_admitted(request: Request, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The parts of an answer that may go on for hours, until the key that it was asked with opens nothing any more."""
    doorkeeper, caller = request.app.state.service.doorkeeper, caller_of(request)
    async with aclosing(parts):
        async for part in parts:
            if not await doorkeeper.still_admits(caller):
                return
            yield part


class GuardedRoute(APIRoute):
    """A route that is asked only by those who may. Raises BrokenInvariant when `ACCESS` does not say who."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        least = {method: _least(method, self.path) for method in self.methods or ()}

        async def guarded(request: Request) -> Response:
            await _admit(request, least[request.method])
            return await handler(request)

        return guarded


def entered(
    method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a route for those who come to it around the router: behind the same check."""
    least = _least(method, path)

    async def guarded(request: Request) -> Response:
        await _admit(request, least)
        return await endpoint(request)

    return guarded


def guarded_router(**options: Any) -> APIRouter:
    """A router whose routes are all guarded."""
    return APIRouter(route_class=GuardedRoute, **options)


def include(app: FastAPI, router: APIRouter) -> None:
    """Add a router's routes to the application. Raises BrokenInvariant for one that nobody guards."""
    for route in router.routes:
        if not isinstance(route, GuardedRoute):
            raise BrokenInvariant(
                f"The route {route} is not guarded: make its router by access.guarded_router."
            )
    app.include_router(router)


def _least(method: str, path: str) -> Role | None:
    try:
        return ACCESS[method, path]
    except KeyError:
        raise BrokenInvariant(f"api/access.py does not say who may ask {method} {path}.") from None


async def _admit(request: Request, least: Role | None) -> None:
    try:
        authorize(request.scope, least)
    except AccessDenied:
        await _note_denied(request)
        raise


async def _note_denied(request: Request) -> None:
    """A refused attempt to change something belongs to the audit trail. Who is not known is only in the log."""
    caller = request.scope.get("caller")
    if caller is None or request.method == "GET":
        return
    row = entry(caller, Action.DENIED, f"{request.method} {request.url.path}", outcome="denied")
    service = request.app.state.service
    await service.run(service.store.add_audit, [row])
