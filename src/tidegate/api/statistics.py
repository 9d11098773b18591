"""Routes for the reports of other installations."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import json_body, problems
from tidegate.api.problems import Refusal
from tidegate.api.times import From, To, time_of
from tidegate.api.usage import TOLD, sums_view
from tidegate.api.views import instant
from tidegate.core.usage import Tally
from tidegate.server.statistics import REPORT_EVERY_S, REPORTS

router = guarded_router(prefix="/statistics", tags=["usage"])

LONGEST_BYTES = 16 * 1024


@router.post(
    "",
    status_code=201,
    summary="Tell what an installation used",
    response_model=schemas.StatisticsKept,
    responses=problems("malformed", "too_large", "unsupported_media_type", "conflict"),
    openapi_extra=json_body(schemas.StatisticsReport),
)
async def add_report(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """A report replaces the one about the same time, so it may be sent again; of a time that is told of in part already
    another one is refused. Any key will do, so that what only reports need not be able to submit.
    """
    wait_s = service.statistics.take_turn(caller)
    if wait_s > 0:
        raise _too_often(caller.owner, wait_s)
    told = await json_model(request, schemas.StatisticsReport, LONGEST_BYTES)
    since, until = time_of(told.from_, told.to)
    assert since is not None
    assert until is not None
    tally = Tally(**{name: getattr(told.usage, name) for name in TOLD})
    replaced = await service.run(
        service.statistics.add, caller, told.installation, told.version, since, until, tally
    )
    body = {
        "installation": told.installation,
        "from": instant(since),
        "to": instant(until),
        "replaced": replaced,
    }
    return JSONResponse(body, 200 if replaced else 201)


@router.get(
    "/summary",
    summary="What installations used",
    response_model=schemas.StatisticsSummary,
    responses=problems(),
)
async def show_summary(
    service: ServiceGiven,
    caller: CallerGiven,
    since: From = None,
    until: To = None,
    owner: Annotated[
        str | None, Query(max_length=63, description="Only what this owner's keys told.")
    ] = None,
) -> JSONResponse:
    """Reports about times that began in this one, by default in the last 30 days, added up.

    Operators see those of all owners, others their own.
    """
    first, end = time_of(since, until)
    found = await service.run(service.statistics.summary, caller, first, end, owner)
    return JSONResponse(
        {
            "installations": found.installations,
            "reports": found.reports,
            "from": instant(found.since),
            "to": instant(found.until),
            "usage": sums_view(found.tally),
            "versions": dict(sorted(found.versions.items())),
        }
    )


def _too_often(owner: str, wait_s: float) -> Refusal:
    return Refusal(
        "rate_limited",
        f"{owner!r} has sent {REPORTS} reports and may send one every {REPORT_EVERY_S:.0f} s. Come again in {wait_s:.1f} s.",
        numbers={"limit": REPORTS, "every_s": REPORT_EVERY_S, "retry_after_s": round(wait_s, 1)},
    )
