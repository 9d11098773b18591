"""Shapes of safe mode and of the quarantine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.api.schemas.common import Shape
from tidegate.api.schemas.jobs import Attempt


class SafeModeOrder(Shape):
    """Why an operator wants safe mode."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "we move the disks"}})
    reason: str = Field("", max_length=500)


class Part(BaseModel):
    """A part of the server that answers."""

    name: str
    alive: bool
    crashes: int
    last_crash: str | None = None
    stands_still_s: float | None = None


class SafeMode(BaseModel):
    """In which mode the service is. `ramp`: it has been in safe mode, and starts come back in steps."""

    mode: Literal["normal", "safe", "ramp"]
    since: str | None = None
    cause: Literal["crashes", "ledger", "migration", "operator"] | None = None
    message: str
    numbers: dict[str, Any]
    by: str | None = Field(None, description="The operator who ordered it, or its end.")
    share: float = Field(description="How much of each worker may be filled now, 0 to 1.")
    leaves_at: str | None = Field(
        None, description="When it ends by itself if nothing more happens; null: an operator has to end it."
    )
    crashes: int = Field(description="Of the server that answers, in the last ten minutes.")
    parts: list[Part]


class Quarantined(BaseModel):
    """A task that took what watches over it with it too often, with what was seen of each attempt."""

    task_id: str
    job_id: str
    kind: str
    name: str
    owner: str
    quarantined_at: str
    message: str
    attempts: list[Attempt]
    released_at: str | None = None
    released_by: str | None = None
    released_as: str | None = Field(None, description="The job that runs it again.")
    links: dict[str, str]


class Released(BaseModel):
    """The job that runs the task again."""

    task_id: str
    job_id: str
    links: dict[str, str]
