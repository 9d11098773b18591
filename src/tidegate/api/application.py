"""The application: routes, handlers and the guard put together over one service."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from tidegate.api import events, health, index, jobs, openapi, problems, query, queues, results, sources
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
    {"name": "queues", "description": "Lines of waiting jobs: weight, cap, pause."},
    {"name": "health", "description": "Alive, and able to work."},
]


class Api(FastAPI):
    """FastAPI with the description that `openapi` makes."""

    def openapi(self) -> dict[str, Any]:
        return openapi.describe(self)


def create_app(service: Service) -> FastAPI:
    """The HTTP API over a running service. Starts and stops nothing: the app's owner does."""
    app = Api(
        title="Tidegate",
        version=version("tidegate"),
        summary="Jobs over big files, filled to the edge and never over it.",
        description=DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for subject in (health, jobs, events, results, sources, queues, query, index):
        app.include_router(subject.router)
    problems.add_handlers(app)
    app.add_middleware(Guard, hosts=allowed_hosts(service.settings))
    return app
