"""Health. Liveness is answered by the guard before anything else; here it is only described."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import JSONResponse, Response

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.dependencies import ServiceGiven
from tidegate.api.guard import HEALTH_BODY
from tidegate.api.openapi import problems
from tidegate.api.views import instant

router = guarded_router(tags=["health"])


@router.get("/health", summary="Alive?", response_model=schemas.Health)
@router.get("/api/v1/health", summary="Alive? (the same)", response_model=schemas.Health)
async def health() -> Response:
    """A constant. It does no work at all and does not depend on load."""
    return Response(HEALTH_BODY, media_type="application/json")


@router.get(
    "/api/v1/health/ready",
    summary="Able to work?",
    response_model=schemas.Ready,
    responses={
        503: {"model": schemas.Ready, "description": "Something it needs is missing; `checks` says what."}
    },
)
async def ready(request: Request, service: ServiceGiven) -> JSONResponse:
    """200 when every check passes, else 503; either way with all checks. Who is not known is not told what is wrong."""
    checks = dict((await service.run(service.ready)).results)
    works = all(wrong is None for wrong in checks.values())
    if request.scope["caller"] is None:
        checks = {name: wrong and "It fails; with an API key one sees why." for name, wrong in checks.items()}
    return JSONResponse(
        {"status": "ready" if works else "not_ready", "checks": checks}, 200 if works else 503
    )


@router.get(
    "/api/v1/health/workers",
    summary="Do jobs get done?",
    response_model=schemas.WorkersHealth,
    responses={
        **problems(),
        503: {
            "model": schemas.WorkersHealth,
            "description": "Not all checks pass; `message` says what is wrong.",
        },
    },
)
async def workers_health(service: ServiceGiven) -> JSONResponse:
    """Whether workers are online, can be told what to do, and run what waits: 200 when healthy, else 503."""
    checks = await service.run(service.monitor.health)
    healthy = all(check.healthy for check in checks.values())
    body = {
        "status": _word(healthy),
        "timestamp": instant(service.clock.now()),
        "checks": {
            name: {"status": _word(check.healthy), "message": check.message, "numbers": dict(check.numbers)}
            for name, check in checks.items()
        },
    }
    return JSONResponse(body, 200 if healthy else 503)


def _word(healthy: bool) -> str:
    return "healthy" if healthy else "unhealthy"
