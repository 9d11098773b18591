"""Routes of safe mode and of the quarantine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import json_body, problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, page
from tidegate.api.views import attempt_view, instant, job_links
from tidegate.core.job import TaskKey
from tidegate.core.recovery import SafeMode
from tidegate.ports import Quarantined
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["recovery"])


@router.get("/safe-mode", summary="In which mode?", response_model=schemas.SafeMode, responses=problems())
async def show_safe_mode(service: ServiceGiven) -> JSONResponse:
    """Whether jobs are taken and started, why not, until when, and how the parts of this server do."""
    return JSONResponse(_mode_view(service, service.supervisor.state))


@router.post(
    "/safe-mode/enter",
    summary="Enter safe mode",
    response_model=schemas.SafeMode,
    responses=problems("invalid_input"),
    openapi_extra=json_body(schemas.SafeModeOrder),
)
async def enter_safe_mode(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """Start nothing and take nothing in, on all servers, until an operator ends it. What runs goes on."""
    order = await json_model(request, schemas.SafeModeOrder)
    return JSONResponse(
        _mode_view(service, await service.run(service.supervisor.enter, caller, order.reason))
    )


@router.post(
    "/safe-mode/leave",
    summary="Leave safe mode",
    response_model=schemas.SafeMode,
    responses=problems("conflict"),
)
async def leave_safe_mode(service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """Start everything again at once. Crashes up to now are not counted any more."""
    return JSONResponse(_mode_view(service, await service.run(service.supervisor.leave, caller)))


@router.get(
    "/quarantine",
    summary="List the quarantine",
    response_model=schemas.Page[schemas.Quarantined],
    responses=problems("bad_cursor"),
)
async def list_quarantine(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """Tasks that were lost too often, the newest job first; also those that were released."""
    before = TaskKey.parse(decode_cursor("quarantine", cursor)) if cursor is not None else None
    held = await service.run(service.store.quarantined, before=before, limit=limit + 1)
    views = await service.run(lambda: [_quarantine_view(service, each) for each in held[:limit]])
    shown = {view["task_id"]: view for view in views}
    return page(held, limit, "quarantine", lambda each: each.key, lambda each: shown[str(each.key)])


@router.get(
    "/quarantine/{task_id}",
    summary="Show a task of the quarantine",
    response_model=schemas.Quarantined,
    responses=problems("not_found"),
)
async def show_quarantined(service: ServiceGiven, task_id: str) -> JSONResponse:
    """Which attempts it had, where, when, and what was seen."""
    held = await service.run(service.store.quarantined_task, TaskKey.parse(task_id))
    return JSONResponse(await service.run(_quarantine_view, service, held))


@router.post(
    "/quarantine/{task_id}/release",
    summary="Run a task of the quarantine again",
    status_code=202,
    response_model=schemas.Released,
    responses=problems("not_found", "conflict", "safe_mode"),
)
async def release_quarantined(service: ServiceGiven, caller: CallerGiven, task_id: str) -> JSONResponse:
    """It runs as a job of its own, with the owner and the request it had, and may be lost as often again."""
    job_id = await service.run(service.release_task, TaskKey.parse(task_id), caller)
    return JSONResponse({"task_id": task_id, "job_id": str(job_id), "links": job_links(job_id)}, 202)


def _mode_view(service: Service, state: SafeMode) -> dict[str, Any]:
    return {
        "mode": state.mode.value,
        "since": instant(state.since),
        "cause": state.cause.value if state.cause else None,
        "message": state.message,
        "numbers": dict(state.numbers),
        "by": state.by,
        "share": state.share(service.clock.now()),
        "leaves_at": instant(state.leaves_at()),
        "crashes": service.supervisor.crashes_lately(),
        "parts": [asdict(part) for part in service.supervisor.parts()],
    }


def _quarantine_view(service: Service, held: Quarantined) -> dict[str, Any]:
    number = held.key.number
    (task,) = service.store.tasks(held.key.job_id, after=number - 1, limit=1)
    base = f"/api/v1/quarantine/{held.key}"
    return {
        "task_id": str(held.key),
        "job_id": str(held.key.job_id),
        "kind": held.kind,
        "name": held.name,
        "owner": held.owner,
        "quarantined_at": instant(held.at),
        "message": task.exit.message if task.exit else "",
        "attempts": [attempt_view(attempt) for attempt in task.attempts],
        "released_at": instant(held.released_at),
        "released_by": held.released_by,
        "released_as": str(held.released_as) if held.released_as is not None else None,
        "links": {"self": base, "release": f"{base}/release", "job": f"/api/v1/jobs/{held.key.job_id}"},
    }
