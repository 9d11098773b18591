"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from starlette.responses import Response

from tidegate.api.access import guarded_router
from tidegate.api.admission import Admission
from tidegate.api.dependencies import ServiceGiven
from tidegate.api.openapi import content, problems
from tidegate.telemetry.meters import Sample

router = guarded_router(tags=["monitoring"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        **problems(),
        200: content(
            "text/plain",
            "application/openmetrics-text",
            description="In the format that `Accept` asks for. docs/metrics.md has all metrics.",
        ),
    },
)
async def metrics(request: Request, service: ServiceGiven) -> Response:
    """Of this server and of the service; with `share_port` of all servers that share its port on this machine. Let in at any
    time, and answered while the database is not."""
    body, content_type = await service.pages.page_later(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


def of_gates(admission: Admission) -> Iterator[Sample]:
    """What each gate is at."""
    for work, turnstile in admission.turnstiles.items():
        gate, labels = turnstile.gate, (work.value,)
        yield Sample("tidegate_http_requests_under_way", gate.in_flight, labels)
        yield Sample("tidegate_http_requests_waiting", gate.waiting, labels)
        yield Sample("tidegate_http_requests_limit", gate.limit, labels)
        yield Sample("tidegate_http_requests_shed_total", gate.refused, labels)
