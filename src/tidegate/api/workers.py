"""Routes of workers."""

from __future__ import annotations

from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, most_now, page
from tidegate.api.views import capacity_view, worker_view

router = guarded_router(prefix="/api/v1", tags=["workers"])


@router.get("/capacity", summary="Show what is free", response_model=schemas.Capacity, responses=problems())
async def show_capacity(service: ServiceGiven) -> JSONResponse:
    """What each worker offers, what of it is allocated and what is available, and the sums: a hint, and a quick one."""
    return JSONResponse(capacity_view(*await service.run(service.rooms)))


@router.get(
    "/workers",
    summary="List workers",
    response_model=schemas.Page[schemas.Worker],
    responses=problems("bad_cursor"),
)
async def list_workers(
    service: ServiceGiven, caller: CallerGiven, limit: Limit = 50, cursor: Cursor = None
) -> JSONResponse:
    """In order of id: what each offers, what is allocated there, and how it is."""
    limit = most_now(service, limit)
    after = decode_cursor("workers", cursor) if cursor is not None else ""
    following = [worker for worker in await service.run(service.workers.all) if worker.record.id > after]
    following = await service.run(service.workers.shown_to, caller, following[: limit + 1])
    return page(following, limit, "workers", lambda worker: worker.record.id, worker_view)


@router.get(
    "/workers/{worker_id}",
    summary="Show a worker",
    response_model=schemas.Worker,
    responses=problems("not_found"),
)
async def show_worker(service: ServiceGiven, caller: CallerGiven, worker_id: str) -> JSONResponse:
    """What it offers, what runs there, and how it is."""
    worker = await service.run(service.workers.get, worker_id)
    (shown,) = await service.run(service.workers.shown_to, caller, [worker])
    return JSONResponse(worker_view(shown))


@router.post(
    "/workers/{worker_id}/drain",
    summary="Drain a worker",
    response_model=schemas.Worker,
    responses=problems("not_found"),
)
async def drain_worker(service: ServiceGiven, caller: CallerGiven, worker_id: str) -> JSONResponse:
    """Nothing more is started there, also after it has been restarted; what runs goes on."""
    return JSONResponse(worker_view(await service.run(service.workers.drain, worker_id, caller)))


@router.post(
    "/workers/{worker_id}/resume",
    summary="Resume a worker",
    response_model=schemas.Worker,
    responses=problems("not_found"),
)
async def resume_worker(service: ServiceGiven, caller: CallerGiven, worker_id: str) -> JSONResponse:
    """It gets jobs again."""
    return JSONResponse(worker_view(await service.run(service.workers.resume, worker_id, caller)))


@router.post(
    "/workers/{worker_id}/stop",
    summary="Stop a worker",
    status_code=202,
    response_model=schemas.Worker,
    responses=problems("not_found", "conflict"),
)
async def stop_worker(service: ServiceGiven, caller: CallerGiven, worker_id: str) -> JSONResponse:
    """It is told to end: what runs there gets its grace, the rest is put back. It is gone once it is no longer listed."""
    return JSONResponse(worker_view(await service.run(service.workers.stop, worker_id, caller)), 202)
