"""Routes of queues."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import json_body, problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, most_now, page
from tidegate.api.views import queue_view
from tidegate.core.identity import Caller
from tidegate.server.judge import check_queue_name
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1/queues", tags=["queues"])

_CHANGE = ("malformed", "too_large", "unsupported_media_type")


@router.get(
    "", summary="List queues", response_model=schemas.Page[schemas.Queue], responses=problems("bad_cursor")
)
async def list_queues(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """In order of name, each with how many of its tasks wait and run."""
    limit = most_now(service, limit)
    after = decode_cursor("queues", cursor) if cursor is not None else ""
    queues = sorted(await service.run(service.store.queues), key=lambda queue: queue.name)
    following = [queue for queue in queues if queue.name > after]
    return page(following[: limit + 1], limit, "queues", lambda queue: queue.name, queue_view)


@router.get("/{name}", summary="Show a queue", response_model=schemas.Queue, responses=problems("not_found"))
async def show_queue(service: ServiceGiven, name: str) -> JSONResponse:
    """Its settings, and how many of its tasks wait and run."""
    return JSONResponse(queue_view(await service.run(service.store.queue, name)))


@router.put(
    "/{name}",
    summary="Create or change a queue",
    response_model=schemas.Queue,
    responses=problems(*_CHANGE),
    openapi_extra=json_body(schemas.QueueChange),
)
async def put_queue(request: Request, service: ServiceGiven, caller: CallerGiven, name: str) -> JSONResponse:
    """What is left out stays, or gets its default in a new queue."""
    return await _change(
        service, caller, check_queue_name(name), await json_model(request, schemas.QueueChange)
    )


@router.patch(
    "/{name}",
    summary="Change a queue",
    response_model=schemas.Queue,
    responses=problems("not_found", *_CHANGE),
    openapi_extra=json_body(schemas.QueueChange),
)
async def patch_queue(
    request: Request, service: ServiceGiven, caller: CallerGiven, name: str
) -> JSONResponse:
    """Like PUT, but the queue must exist."""
    change = await json_model(request, schemas.QueueChange)
    await service.run(service.store.queue, name)
    return await _change(service, caller, name, change)


@router.post(
    "/{name}/pause", summary="Pause a queue", response_model=schemas.Queue, responses=problems("not_found")
)
async def pause_queue(service: ServiceGiven, caller: CallerGiven, name: str) -> JSONResponse:
    """Nothing of it is started any more; what runs goes on."""
    await service.run(service.store.queue, name)
    return await _change(service, caller, name, schemas.QueueChange(paused=True))


@router.post(
    "/{name}/resume", summary="Resume a queue", response_model=schemas.Queue, responses=problems("not_found")
)
async def resume_queue(service: ServiceGiven, caller: CallerGiven, name: str) -> JSONResponse:
    """Its jobs are started again."""
    await service.run(service.store.queue, name)
    return await _change(service, caller, name, schemas.QueueChange(paused=False))


async def _change(service: Service, caller: Caller, name: str, change: schemas.QueueChange) -> JSONResponse:
    given: dict[str, Any] = change.model_dump(exclude_unset=True)
    if "max_concurrent" in given and given["max_concurrent"] is None:
        given["no_cap"] = True
    return JSONResponse(queue_view(await service.set_queue(name, by=caller, **given)))
