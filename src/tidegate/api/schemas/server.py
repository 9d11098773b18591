"""Shapes of queues and of the server's own state."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.api.schemas.common import Shape


class QueueChange(Shape):
    """New settings of a queue; what is left out stays. `max_concurrent` null takes the cap away."""

    model_config = ConfigDict(json_schema_extra={"example": {"max_concurrent": 2, "weight": 3}})
    max_concurrent: int | None = Field(None, ge=1, le=100_000)
    weight: int | None = Field(None, ge=1, le=1000)
    paused: bool | None = None


class Queue(BaseModel):
    name: str
    weight: int
    max_concurrent: int | None = None
    paused: bool
    waiting: int
    running: int
    links: dict[str, str]


class Amounts(BaseModel):
    cpus: float
    memory_bytes: int
    disk_bytes: int


class Worker(BaseModel):
    """A machine that runs jobs. `silent`: no beat came in time; `left`: it has ended but still holds something."""

    worker_id: str
    hostname: str
    status: Literal["online", "draining", "silent", "left"]
    draining: bool
    registered_at: str
    beat_at: str
    capacity: Amounts
    allocatable: Amounts
    allocated: Amounts
    labels: dict[str, str]
    versions: dict[str, str]
    enforced_by: list[str]
    running: list[str]
    """Attempts that hold something there."""
    links: dict[str, str]


class Room(BaseModel):
    allocatable: Amounts
    allocated: Amounts
    available: Amounts


class WorkerRoom(Room):
    worker_id: str


class Capacity(BaseModel):
    """`source` says who counted: the `cache`, or the `store` while the cache is away or in doubt."""

    source: Literal["cache", "store"]
    total: Room
    workers: list[WorkerRoom]


class Health(BaseModel):
    """Alive. Says nothing about load or work."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "healthy"}})
    status: Literal["healthy"]


class Ready(BaseModel):
    """Every check with null, or what is wrong."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str | None]
