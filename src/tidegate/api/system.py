"""How this server does: its machine, what does its work, its connections to the database. Cheap enough for every second."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.dependencies import ServiceGiven
from tidegate.api.openapi import problems
from tidegate.api.views import instant

router = guarded_router(prefix="/api/system", tags=["monitoring"])


@router.get(
    "/resource-usage",
    summary="CPU, memory and disk of the server's machine",
    response_model=schemas.ResourceUsage,
    responses=problems(),
)
async def resource_usage(service: ServiceGiven) -> JSONResponse:
    """Read at most once a second, however often it is asked for."""
    seen = await service.run(service.monitor.system)
    parts = {name: seen[name] for name in ("cpu", "memory", "disk")}
    return JSONResponse({"timestamp": instant(service.clock.now()), **parts})


@router.get(
    "/executor-stats",
    summary="What does the server's work",
    response_model=schemas.ExecutorsStats,
    responses=problems(),
)
async def executor_stats(service: ServiceGiven) -> JSONResponse:
    """`read` and `look` are threads of this server, `sandboxes` the worker inside it, if there is one; `cpu` and `io` are
    those of an `ExecutorManager` that the same program has open. Counted from memory, so it answers whatever is away."""
    executors = {name: asdict(stats) for name, stats in service.executors().items()}
    return JSONResponse({"timestamp": instant(service.clock.now()), "executors": executors})


@router.get(
    "/db-pool-stats",
    summary="Connections to the database",
    response_model=schemas.PoolsStats,
    responses=problems(),
)
async def db_pool_stats(service: ServiceGiven) -> JSONResponse:
    """Of each engine in use. Asks the pool, not the database."""
    pools = [{**asdict(pool), "usage_percent": pool.usage_percent} for pool in service.pools()]
    return JSONResponse({"timestamp": instant(service.clock.now()), "pools": pools})
