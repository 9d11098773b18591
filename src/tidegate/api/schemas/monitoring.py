"""Shapes of monitoring."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class MonitoredTask(BaseModel):
    """A task that a worker runs or is about to run."""

    task_id: str
    job_id: str
    attempt: int
    name: str
    kind: str
    owner: str
    queue: str
    started_at: str


class MonitoredQueue(BaseModel):
    name: str
    length: int = Field(description="Tasks that wait.")
    status: Literal["active", "paused"]
    running: int


class MonitoredWorkerShort(BaseModel):
    """A worker with what it runs."""

    worker_name: str
    hostname: str
    status: str
    active_tasks: int = Field(description="All that run there, also those of other owners.")
    current_tasks: list[MonitoredTask] = Field(description="Those that are for the caller to see.")
    total_tasks: int = Field(
        description="Begun since the worker was started, or since `reset_stats`; as of its last beat."
    )
    total_tasks_by_kind: dict[str, int]
    pool_implementation: str
    pool_processes: list[int] = Field(description="Process ids: the warm parent and the keepers.")
    rusage: dict[str, float] = Field(description="Of the worker's own process, as getrusage(2) names it.")
    registered_tasks: list[str] = Field(description="The kinds of jobs it can run.")
    beat_at: str


class MonitoredWorkers(BaseModel):
    timestamp: str
    total_workers: int
    online_workers: int
    workers: list[MonitoredWorkerShort]
    queues: list[MonitoredQueue]


class MonitoredWorker(MonitoredWorkerShort):
    timestamp: str
    active: list[MonitoredTask]
    scheduled: list[MonitoredTask]
    reserved: list[MonitoredTask]
    stats: dict[str, Any]


class MonitoredQueues(BaseModel):
    timestamp: str
    queues: list[MonitoredQueue]


class GateRefusals(BaseModel):
    criticality: str
    reason: Literal["no_room", "waited"] = Field(
        description="`no_room`: refused at once, since it would have waited for too long; `waited`: it has waited in vain."
    )
    count: int = Field(description="Since the start of the server.")


class MonitoredGate(BaseModel):
    """What the requests of one kind pass."""

    name: Literal["submit", "read", "run", "stream"]
    limit: int = Field(description="How many may be under way at once.")
    in_flight: int
    waiting: int = Field(description="In line for a slot.")
    due: int = Field(description="Were told when to come again, and have not come yet.")
    per_second: float = Field(description="Answered when all slots are taken; 0: not seen yet.")
    refused: list[GateRefusals]


class MonitoredGates(BaseModel):
    timestamp: str
    gates: list[MonitoredGate]
    rate_limited: int = Field(description="Requests of owners who asked too often, since the start.")


class ControlAnswer(BaseModel):
    worker_name: str
    action: str
    status: Literal["told"]


class MonitoredSystem(BaseModel):
    """Figures of the server's machine; amounts are bytes, percents 0 to 100."""

    timestamp: str
    cpu: dict[str, Any]
    memory: dict[str, Any]
    disk: dict[str, Any]
    nfs_storage: dict[str, Any] | None = Field(None, description="The shared path; null without one.")
    network: dict[str, Any]
    process: dict[str, Any]


class HealthCheck(BaseModel):
    status: Literal["healthy", "unhealthy"]
    message: str
    numbers: dict[str, float]


class WorkersHealth(BaseModel):
    """Whether jobs get done. `celery_workers` and `message_queues` mean the same without Celery."""

    status: Literal["healthy", "unhealthy"]
    timestamp: str
    checks: dict[Literal["celery_workers", "message_queues", "task_processing"], HealthCheck]


class ResourceUsage(BaseModel):
    """Figures of the server's machine; amounts are bytes, percents 0 to 100."""

    timestamp: str
    cpu: dict[str, Any]
    memory: dict[str, Any]
    disk: dict[str, Any]


class ExecutorFigures(BaseModel):
    """Calls of one executor."""

    size: int | None = Field(description="How many run at most at once; null: as many as there is room for.")
    active: int
    queued: int
    completed: int = Field(description="Ended well since the start.")
    failed: int
    cancelled: int = Field(description="Given up by whoever waited for them.")


class ExecutorsStats(BaseModel):
    timestamp: str
    executors: dict[str, ExecutorFigures]


class PoolFigures(BaseModel):
    """Connections of one engine."""

    engine: str
    size: int = Field(description="Kept open at most.")
    checked_out: int = Field(description="In use.")
    overflow: int = Field(description="In use beyond the size.")
    max_overflow: int = Field(description="How many may be in use beyond the size.")
    usage_percent: float = Field(description="In use, of all there may be; 0 to 100.")


class PoolsStats(BaseModel):
    timestamp: str
    pools: list[PoolFigures]
