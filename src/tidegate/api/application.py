"""The application: routes, handlers and the guard put together over one service."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from tidegate.api import (
    alerts,
    audit,
    events,
    health,
    index,
    ingest,
    jobs,
    keys,
    lint,
    logs,
    metrics,
    monitoring,
    openapi,
    outputs,
    pressure,
    problems,
    query,
    queues,
    recovery,
    results,
    sources,
    statistics,
    system,
    usage,
    workers,
)
from tidegate.api.access import include
from tidegate.api.admission import Admission
from tidegate.api.budget import BodyBudget
from tidegate.api.guard import Guard, allowed_hosts
from tidegate.server.service import Service

DESCRIPTION = """\
Runs heavy data jobs on a machine filled to the edge and never over it.

Every error is an `application/problem+json` of one shape (`Problem`), lists come in pages (`items`, `next_cursor`),
ids are text, instants ISO 8601 in UTC, amounts bytes and CPUs.
"""
_TAGS = [
    {"name": "jobs", "description": "Submit, watch, explain and cancel work."},
    {"name": "sources", "description": "Named data sets: register, upload, look at, download."},
    {"name": "query", "description": "Small queries, answered at once."},
    {"name": "ingest", "description": "Looks at files that are to be loaded."},
    {"name": "lint", "description": "Reports on SQL files."},
    {"name": "queues", "description": "Lines of waiting jobs: weight, cap, pause."},
    {"name": "workers", "description": "Machines that run jobs: look, drain, stop."},
    {"name": "recovery", "description": "Safe mode, and tasks that end what is around them."},
    {"name": "monitoring", "description": "What runs where, and how the machines do."},
    {"name": "alerts", "description": "What is wrong, who was told, and who has seen it."},
    {"name": "identity", "description": "API keys, roles, and the trail of who did what."},
    {"name": "usage", "description": "Who used how much, here and elsewhere."},
    {"name": "health", "description": "Alive, and able to work."},
]


SUBJECTS = (
    health,
    jobs,
    events,
    logs,
    results,
    outputs,
    sources,
    queues,
    workers,
    recovery,
    monitoring,
    metrics,
    pressure,
    ingest,
    lint,
    system,
    query,
    alerts,
    keys,
    audit,
    usage,
    statistics,
    index,
)
"""The modules that have a `router`."""


class Api(FastAPI):
    """FastAPI with the guard around all of it, and with the description that `openapi` makes."""

    guard: Guard

    def openapi(self) -> dict[str, Any]:
        return openapi.describe(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.guard(scope, receive, send)


def create_app(service: Service) -> FastAPI:
    """The HTTP API over a running service. Starts and stops nothing: the app's owner does."""
    app = Api(
        title="Tidegate",
        version=version("tidegate"),
        summary="Jobs over big files, filled to the edge and never over it.",
        description=DESCRIPTION,
        openapi_tags=_TAGS,
        openapi_url=None,  # `index` has it, guarded like all routes
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for subject in SUBJECTS:
        include(app, subject.router)
    problems.add_handlers(app)
    app.state.bodies = BodyBudget()
    app.state.admission = Admission(service.settings, service.rates, service.run, service.sojourns)
    service.meters.tell("gates", lambda: metrics.of_gates(app.state.admission))
    app.guard = Guard(
        super(Api, app).__call__,
        allowed_hosts(service.settings),
        app.state.bodies,
        service.doorkeeper,
        app.state.admission,
        jobs.entrance,
        service.meters,
        service.tracing,
    )
    return app
