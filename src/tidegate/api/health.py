"""Health. Liveness is answered by the guard before anything else; here it is only described."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from tidegate.api import schemas
from tidegate.api.dependencies import ServiceGiven
from tidegate.api.guard import HEALTH_BODY

router = APIRouter(tags=["health"])


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
async def ready(service: ServiceGiven) -> JSONResponse:
    """200 when every check passes, else 503; either way with all checks."""
    checks = (await service.run(service.ready)).results
    works = all(wrong is None for wrong in checks.values())
    return JSONResponse(
        {"status": "ready" if works else "not_ready", "checks": dict(checks)}, 200 if works else 503
    )
