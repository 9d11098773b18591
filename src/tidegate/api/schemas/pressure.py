"""Shapes of pressure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LevelName = Literal["normal", "warn", "critical", "emergency"]


class Signal(BaseModel):
    """What one or more readings say together."""

    signal: str
    level: LevelName
    readings: dict[str, float]
    thresholds: dict[str, Any] = Field(description="By level, as in the rules.")


class WorkerPressure(BaseModel):
    """What a worker felt at its last beat."""

    worker_id: str
    level: LevelName
    since: str | None = None
    told_at: str
    readings: dict[str, float]


class Pressure(BaseModel):
    """The level of a server: of what it feels, and what bears on those who ask."""

    timestamp: str
    level: LevelName
    since: str | None = Field(None, description="null: since the start.")
    acts: bool = Field(
        description='Whether anything follows from the level; false with `pressure = "watch"`.'
    )
    refused_share: float = Field(description="Of what `refuse_some` names, the share that is refused.")
    signals: list[Signal]
    readings: dict[str, float]
    allowed: dict[str, Any]
    workers: list[WorkerPressure]


class PressureSample(BaseModel):
    place: str
    at: str
    level: LevelName
    readings: dict[str, float]


class PressureHistory(BaseModel):
    items: list[PressureSample]


class PressureRules(BaseModel):
    """The table: `signals` say when a level is entered, `levels` what it allows."""

    signals: dict[str, Any]
    levels: dict[str, Any]
    changes: dict[str, Any]
    changed_at: str | None = None
    changed_by: str | None = None


class PressureRuleChanges(BaseModel):
    """What differs from the rules of the settings."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "signals": {"disk": {"warn": [{"thresholds": {"disk_free_percent": {"bound": 10}}}]}},
                    "levels": {"warn": {"starts_per_s": 5}},
                }
            ]
        },
    )

    signals: dict[str, Any] = Field(default_factory=dict)
    levels: dict[str, Any] = Field(default_factory=dict)
