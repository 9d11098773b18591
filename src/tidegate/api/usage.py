"""Routes of usage: who used how much, and what the machines felt meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import JSONResponse, Response

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.csv_lines import MEDIA_TYPE, Format, ListFormat, csv_page
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import Responses, content, problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, encode_cursor, most_now
from tidegate.api.times import From, To, time_of
from tidegate.api.views import instant
from tidegate.core.pressure import Level
from tidegate.core.readings import NAMES
from tidegate.core.usage import Tally, UsageBy, UsageRecord, total
from tidegate.server.usage import Step

router = guarded_router(prefix="/api/v1/usage", tags=["usage"])

P95 = 0.95
TOLD = tuple(name for name in Tally._fields if name != "wait_seconds")
"""The sums that are shown; that of waits as their mean."""
_COLUMNS = ("name", *TOLD, "wait_mean_s", "wait_p95_s")
_HISTORY_COLUMNS = ("at", "place", "level", "samples", *NAMES)
_DIGITS = 6
_CSV: Responses = {200: content(MEDIA_TYPE, description="With `format=csv` the items alone.")}


@router.get(
    "",
    summary="Who used how much",
    response_model=schemas.UsagePage,
    responses={**problems("bad_cursor"), **_CSV},
)
async def show_usage(
    request: Request,
    service: ServiceGiven,
    caller: CallerGiven,
    by: Annotated[UsageBy, Query(description="What is told apart.")] = UsageBy.USER,
    since: From = None,
    until: To = None,
    owner: Annotated[str | None, Query(max_length=63, description="Only what this owner used.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    format: Format = ListFormat.JSON,
) -> Response:
    """Jobs, failures, waits, CPU and memory of the jobs that ended in a time, by default of the last 30 days.

    The time is widened to whole hours. Operators see what all owners used, others what they used themselves. It is known for
    `usage_retention_days`, for longer than the jobs.
    """
    first, end = time_of(since, until)
    whose = owner if caller.sees_all else caller.owner
    report = await service.run(service.usage.report, by, first, end, whose)
    mine = owner is None or caller.sees(owner)
    records = report.records if mine else []
    after = decode_cursor("usage", cursor) if cursor is not None else ""
    most = most_now(service, limit)
    shown = [record for record in records if record.name > after][: most + 1]
    following = encode_cursor("usage", shown[most - 1].name) if len(shown) > most else None
    items = [{"name": record.name, **usage_view(record)} for record in shown[:most]]
    if format is ListFormat.CSV:
        return csv_page(request, _COLUMNS, items, following)
    return JSONResponse(
        {
            "by": by.value,
            "from": instant(report.since),
            "to": instant(report.until),
            "items": items,
            "total": usage_view(total("", records)),
            "next_cursor": following,
        }
    )


@router.get(
    "/resources",
    summary="What the machines felt",
    response_model=schemas.Page[schemas.ResourceStep],
    responses={**problems("bad_cursor"), **_CSV},
)
async def show_resources(
    request: Request,
    service: ServiceGiven,
    since: From = None,
    until: To = None,
    step: Annotated[int, Query(ge=60, le=86400, description="Seconds of a step.")] = 3600,
    place: Annotated[
        str | None, Query(max_length=128, description="Only this, such as `worker:local`.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most steps of this page.")] = 100,
    cursor: Cursor = None,
    format: Format = ListFormat.JSON,
) -> Response:
    """CPU, memory, disk and the rest of each worker and server, by default of the last day: the worst of each step.

    Steps without any sample are left out. It is known for `readings_retention_days`.
    """
    first, end = time_of(since, until)
    most = most_now(service, limit)
    after = _place_of(cursor) if cursor is not None else None
    steps, following = await service.run(
        service.usage.history, place, first, end, timedelta(seconds=step), most, after
    )
    next_cursor = None if following is None else encode_cursor("resources", following.isoformat())
    if format is ListFormat.CSV:
        lines = ({**_step_view(one), **one.sample.readings.known()} for one in steps)
        return csv_page(request, _HISTORY_COLUMNS, lines, next_cursor)
    return JSONResponse({"items": [_step_view(one) for one in steps], "next_cursor": next_cursor})


def sums_view(tally: Tally) -> dict[str, Any]:
    """The sums as they are shown, to the microsecond."""
    return {name: round(value, _DIGITS) for name, value in tally._asdict().items() if name in TOLD}


def usage_view(record: UsageRecord) -> dict[str, Any]:
    """What is shown of a record beside its name."""
    waits = {"wait_mean_s": record.wait_mean_s, "wait_p95_s": record.wait_quantile_s(P95)}
    return sums_view(record.tally) | {
        name: None if wait is None else round(wait, _DIGITS) for name, wait in waits.items()
    }


def _place_of(cursor: str) -> datetime:
    """Where a page of the history begins. Raises `bad_cursor`."""
    try:
        return datetime.fromisoformat(decode_cursor("resources", cursor)).astimezone(UTC)
    except (ValueError, OverflowError):
        decode_cursor("resources", "")
        raise


def _step_view(step: Step) -> dict[str, Any]:
    return {
        "at": instant(step.at),
        "place": step.place,
        "level": str(Level(step.sample.level)),
        "samples": step.samples,
        "readings": step.sample.readings.known(),
    }
