"""The query that is answered in the request itself."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.interactive import Limits, rows_of, rows_response
from tidegate.api.openapi import json_body, problems
from tidegate.errors import InvalidInput
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["query"])


@router.post(
    "/query",
    summary="Query a few rows now",
    response_model=schemas.Rows,
    responses=problems(
        "malformed", "too_large", "unsupported_media_type", "query_failed", "never_fits", "busy", "disk_full"
    ),
    openapi_extra=json_body(schemas.QueryRequest),
)
async def query(request: Request, service: ServiceGiven, caller: CallerGiven) -> Response:
    """A small query with limits on rows, time and bytes.

    Rows beyond a limit are left out: `truncated` is then true and `reached` names the limit. A query that is not done
    in its time gives no rows but the problem `time_limit` (422): submit it as a job instead.
    """
    asked = await json_model(request, schemas.QueryRequest)
    limits = _limits(service, asked)
    return rows_response(await rows_of(service, caller, asked.sql, limits, memory=asked.memory))


def _limits(service: Service, asked: schemas.QueryRequest) -> Limits:
    settings = service.settings
    rows = settings.query_max_rows if asked.limit is None else asked.limit
    time_s = settings.query_timeout_s if asked.timeout_s is None else asked.timeout_s
    for field, value, most in (
        ("limit", rows, settings.query_max_rows),
        ("timeout_s", time_s, settings.query_timeout_s),
    ):
        if value > most:
            raise InvalidInput(
                f"{field}: {value:g} asked, at most {most:g} are allowed here. Submit it as a job for more.",
                numbers={"field": field, "asked": value, "limit": most},
            )
    return Limits(rows=rows, time_s=time_s)
