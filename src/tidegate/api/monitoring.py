"""Monitoring: workers, queues and the machine, in the shapes that monitors of Celery installations know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.admission import Admission, Turnstile
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.lanes import Work
from tidegate.api.openapi import problems
from tidegate.api.problems import Refusal
from tidegate.api.views import instant
from tidegate.core.identity import Caller
from tidegate.ports import LiveAttempt, QueueRecord
from tidegate.server.monitor import WorkerPicture

router = guarded_router(prefix="/api/v1/monitoring", tags=["monitoring"])

ACTIONS = ("shutdown", "pool_restart", "reset_stats")


@router.get(
    "/workers", summary="Workers and queues", response_model=schemas.MonitoredWorkers, responses=problems()
)
async def monitor_workers(service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """All workers with what they run, and all queues. Other owners' tasks are counted, but not named."""
    pictures = await service.run(service.monitor.workers, caller)
    queues = await service.run(service.monitor.queues)
    body = {
        "timestamp": instant(service.clock.now()),
        "total_workers": len(pictures),
        "online_workers": sum(picture.online for picture in pictures),
        "workers": [_worker(picture) for picture in pictures],
        "queues": [_queue(queue) for queue in queues],
    }
    return JSONResponse(body)


@router.get(
    "/workers/{worker_id}",
    summary="A worker's tasks and figures",
    response_model=schemas.MonitoredWorker,
    responses=problems("not_found"),
)
async def monitor_worker(service: ServiceGiven, caller: CallerGiven, worker_id: str) -> JSONResponse:
    """What runs there (`active`), what was handed over and is about to run (`reserved`), and how its process does.

    `scheduled` is always empty: tasks that wait for their time do so in the store, not on a worker.
    """
    picture = await service.run(service.monitor.worker, caller, worker_id)
    body = {
        **_worker(picture),
        "timestamp": instant(service.clock.now()),
        "active": [_task(attempt) for attempt in picture.running],
        "scheduled": [],
        "reserved": [_task(attempt) for attempt in picture.starting],
        "stats": dict(picture.stats),
    }
    return JSONResponse(body)


@router.post(
    "/workers/{worker_id}/control",
    summary="Tell a worker something",
    response_model=schemas.ControlAnswer,
    responses=problems("unknown_action", "not_found", "conflict"),
)
async def control_worker(
    service: ServiceGiven,
    caller: CallerGiven,
    worker_id: str,
    action: Annotated[str, Query(max_length=100, description=f"One of: {', '.join(ACTIONS)}.")] = "",
) -> JSONResponse:
    """`shutdown` ends it in order, `pool_restart` lets it run on with fresh processes once nothing runs there,
    `reset_stats` counts its tasks from 0 again. Answers when it was told, not when it is done."""
    if action not in ACTIONS:
        raise Refusal(
            "unknown_action",
            f"action: {action!r:.120} is none. It must be one of: {', '.join(ACTIONS)}.",
            numbers={"field": "action"},
        )
    orders: dict[str, Callable[[str, Caller], object]] = {
        "shutdown": service.workers.stop,
        "pool_restart": service.workers.restart_pool,
        "reset_stats": service.workers.reset_stats,
    }
    await service.run(orders[action], worker_id, caller)
    return JSONResponse({"worker_name": worker_id, "action": action, "status": "told"})


@router.get("/queues", summary="Queues", response_model=schemas.MonitoredQueues, responses=problems())
async def monitor_queues(service: ServiceGiven) -> JSONResponse:
    """How many tasks wait in each queue, and whether it is paused."""
    queues = [_queue(queue) for queue in await service.run(service.monitor.queues)]
    return JSONResponse({"timestamp": instant(service.clock.now()), "queues": queues})


@router.get(
    "/system", summary="The server's machine", response_model=schemas.MonitoredSystem, responses=problems()
)
async def monitor_system(request: Request, service: ServiceGiven) -> JSONResponse:
    """CPU, memory, disk, network and the server's process; read at most once a second."""
    seen = await service.run(service.monitor.system)
    process = {"version": request.app.version, **seen["process"]}
    return JSONResponse({"timestamp": instant(service.clock.now()), **seen, "process": process})


@router.get(
    "/gates",
    summary="Who is let in, and who is refused",
    response_model=schemas.MonitoredGates,
    responses=problems(),
)
async def monitor_gates(request: Request, service: ServiceGiven) -> JSONResponse:
    """Of each kind of request its gate on this server: how many are under way, may be, wait, and were refused since the start.

    Answered from memory, whatever else is away or full.
    """
    admission: Admission = request.app.state.admission
    body = {
        "timestamp": instant(service.clock.now()),
        "gates": [_gate(work, turnstile) for work, turnstile in admission.turnstiles.items()],
        "rate_limited": admission.rate_limited,
    }
    return JSONResponse(body)


def _gate(work: Work, turnstile: Turnstile) -> dict[str, Any]:
    gate = turnstile.gate
    return {
        "name": work.value,
        "limit": gate.limit,
        "in_flight": gate.in_flight,
        "waiting": gate.waiting,
        "due": gate.due,
        "per_second": round(gate.per_second(turnstile.clock()), 2),
        "refused": [
            {"criticality": str(criticality), "reason": why.value, "count": count}
            for (criticality, why), count in sorted(turnstile.refused.items(), reverse=True)
        ],
    }


def _worker(picture: WorkerPicture) -> dict[str, Any]:
    record, stats = picture.now.record, picture.stats
    begun = stats.get("begun", {})
    return {
        "worker_name": record.id,
        "hostname": record.hostname,
        "status": picture.now.status,
        "active_tasks": picture.active,
        "current_tasks": [_task(attempt) for attempt in picture.running],
        "total_tasks": sum(begun.values()),
        "total_tasks_by_kind": begun,
        "pool_implementation": stats.get("pool", ""),
        "pool_processes": stats.get("processes", []),
        "rusage": stats.get("rusage", {}),
        "registered_tasks": stats.get("kinds", []),
        "beat_at": instant(record.beat_at),
    }


def _task(attempt: LiveAttempt) -> dict[str, Any]:
    key = attempt.key
    return {
        "task_id": str(key.task),
        "job_id": str(key.job_id),
        "attempt": key.attempt,
        "name": attempt.name,
        "kind": attempt.kind,
        "owner": attempt.owner,
        "queue": attempt.queue,
        "started_at": instant(attempt.started_at),
    }


def _queue(queue: QueueRecord) -> dict[str, Any]:
    return {
        "name": queue.name,
        "length": queue.waiting,
        "status": "paused" if queue.paused else "active",
        "running": queue.running,
    }
