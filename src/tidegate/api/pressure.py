"""Routes of pressure: the level here and on all workers, its history, and the rules."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_object
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import json_body, problems
from tidegate.api.views import instant
from tidegate.core.pressure import Level, Row, numbers
from tidegate.core.pressure_rules import allowed_to_json, row_to_json, rules_to_json
from tidegate.core.readings import Sample
from tidegate.ports import ChangedRules, Overload, WorkerRecord

router = guarded_router(prefix="/api/v1/pressure", tags=["monitoring"])

MOST_MINUTES = 7 * 24 * 60


@router.get("", summary="The pressure now", response_model=schemas.Pressure, responses=problems())
async def show_pressure(service: ServiceGiven) -> JSONResponse:
    """This server's level and since when, each signal against its thresholds, what is allowed, and the levels of workers."""
    overload = service.pressure.overload
    records = await service.run(service.pressure.workers)
    since = overload.changed_at()
    body = {
        "timestamp": instant(service.clock.now()),
        "level": str(overload.level()),
        "since": None if since is None else instant(since),
        "acts": not overload.watch_only,
        "refused_share": round(overload.severity(), 3),
        "signals": [_signal(row, overload) for row in overload.rules().rows],
        "readings": overload.readings().known(),
        "allowed": allowed_to_json(overload.allowed()),
        "workers": [_worker(record) for record in records],
    }
    return JSONResponse(body)


@router.get(
    "/history",
    summary="The pressure of the last while",
    response_model=schemas.PressureHistory,
    responses=problems(),
)
async def show_history(
    service: ServiceGiven,
    minutes: Annotated[int, Query(ge=1, le=MOST_MINUTES, description="How far back.")] = 60,
    place: Annotated[
        str | None, Query(max_length=128, description="Only this, such as `worker:local`.")
    ] = None,
) -> JSONResponse:
    """A sample a minute of each worker and server, oldest first: the worst of that minute. At most 10,000."""
    found = await service.run(service.pressure.history, place, minutes)
    return JSONResponse({"items": [_sample(where, sample) for where, sample in found]})


@router.get(
    "/rules",
    summary="The rules on pressure",
    response_model=schemas.PressureRules,
    responses=problems(),
)
async def show_rules(service: ServiceGiven) -> JSONResponse:
    """Which readings lead to which level, and what each level allows."""
    return JSONResponse(_rules(service.pressure.overload, await service.run(service.pressure.changed)))


@router.put(
    "/rules",
    summary="Change the rules on pressure",
    response_model=schemas.PressureRules,
    responses=problems("malformed", "too_large", "unsupported_media_type"),
    openapi_extra=json_body(schemas.PressureRuleChanges),
)
async def put_rules(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """What differs from the rules of the settings, and nothing else; `{}` goes back to them. Holds within a second."""
    changes = await json_object(request)
    told = await service.run(service.pressure.change, changes, caller)
    return JSONResponse(_rules(service.pressure.overload, told))


def _signal(row: Row, overload: Overload) -> dict[str, Any]:
    level = overload.gauge().rows.get(row.signal, Level.NORMAL)
    return {
        "signal": row.signal,
        "level": str(level),
        "readings": numbers(row, overload.readings()),
        "thresholds": row_to_json(row),
    }


def _worker(record: WorkerRecord) -> dict[str, Any]:
    return {
        "worker_id": record.id,
        "level": str(record.level),
        "since": None if record.level_since is None else instant(record.level_since),
        "told_at": instant(record.beat_at),
        "readings": record.readings.known(),
    }


def _sample(place: str, sample: Sample) -> dict[str, Any]:
    return {
        "place": place,
        "at": instant(sample.at),
        "level": str(Level(sample.level)),
        "readings": sample.readings.known(),
    }


def _rules(overload: Overload, changed: ChangedRules | None) -> dict[str, Any]:
    return {
        **rules_to_json(overload.rules()),
        "changes": {} if changed is None else dict(changed.changes),
        "changed_at": None if changed is None else instant(changed.changed_at),
        "changed_by": None if changed is None else changed.changed_by,
    }
