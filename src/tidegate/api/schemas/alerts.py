"""Shapes of alerts, their rules, silences and channels."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.api.schemas.common import Shape

AlertLevel = Literal["info", "warning", "severe", "danger"]


class Alert(BaseModel):
    """One episode: from when a figure was beyond for long enough until it was back."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "alert_id": "7",
                "rule": "memory",
                "subject": "node-1",
                "level": "severe",
                "state": "open",
                "silenced": False,
                "value": 96.2,
                "message": "Memory in use of node-1 is 96.2 %, above 95 %.",
                "raised_at": "2026-01-31T08:00:00.000Z",
                "changed_at": "2026-01-31T08:00:00.000Z",
                "links": {"self": "/api/v1/alerts/7", "acknowledge": "/api/v1/alerts/7/acknowledge"},
            }
        }
    )
    alert_id: str
    rule: str
    subject: str = Field(description="What it is about: a machine, a queue, a channel, or `service`.")
    level: AlertLevel = Field(description="Of an alert that is resolved: its last one.")
    state: Literal["open", "acknowledged", "resolved"]
    silenced: bool = Field(description="Whether a silence covers it now.")
    value: float | None = Field(description="The figure at the last change.")
    message: str
    raised_at: str
    changed_at: str
    resolved_at: str | None = None
    acknowledged_at: str | None = None
    acknowledged_by: str | None = None
    told_at: str | None = Field(None, description="When channels were told last.")
    links: dict[str, str]


class AlertMoment(BaseModel):
    """Something that happened to an alert."""

    at: str
    what: Literal["raised", "worsened", "eased", "repeated", "acknowledged", "resolved"]
    level: AlertLevel
    text: str
    by: str | None = Field(None, description="Who did it; null: it happened by itself.")


class AlertNotice(BaseModel):
    """A message of an alert to a channel."""

    id: str = Field(description="The same at each try.")
    channel: str
    what: Literal["raised", "worsened", "repeated", "resolved"]
    level: AlertLevel
    state: Literal["waiting", "sending", "sent", "given_up"]
    tries: int
    at: str
    ended_at: str | None = None
    error: str | None = None


class AlertWithHistory(Alert):
    """An alert with what happened to it, what to do, and who was told."""

    advice: str
    history: list[AlertMoment]
    notices: list[AlertNotice]


class AcknowledgeRequest(Shape):
    """What to note beside the acknowledgement."""

    model_config = ConfigDict(json_schema_extra={"example": {"note": "A new disk is on its way."}})
    note: str = Field("", max_length=1000)


class SilenceRequest(Shape):
    """What to keep quiet about, and for how long. Without rule and subject: everything."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"rule": "disk", "minutes": 90, "reason": "The disk is being enlarged."}
        }
    )
    rule: str | None = Field(None, max_length=100)
    subject: str | None = Field(None, max_length=200)
    minutes: float = Field(gt=0, le=44_640, description="At most 31 days.")
    reason: str = Field("", max_length=1000)


class Silence(BaseModel):
    """Until its end nobody is told of what it covers."""

    silence_id: str
    rule: str | None
    subject: str | None
    reason: str
    created_by: str
    starts_at: str
    ends_at: str


class AlertRule(BaseModel):
    """A rule as it holds now. A threshold of null is no level of this rule."""

    name: str
    what: str
    unit: str
    warning: float | None = Field(description="Above it is a warning.")
    severe: float | None = Field(description="Above it is severe.")
    danger: float | None = Field(description="From it on is danger.")
    hold_s: float = Field(description="So long it has to be beyond before that counts.")
    clear_s: float = Field(description="So long it has to be back before that counts.")
    slack: float = Field(description="Back is below the threshold by this share of it.")
    repeat_s: float = Field(description="So often an open alert is told again.")
    enabled: bool
    advice: str
    changed_at: str | None = None
    changed_by: str | None = None


class AlertRuleChange(Shape):
    """What to change of a rule; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"warning": 90, "hold_s": 300}})
    warning: float | None = None
    severe: float | None = None
    danger: float | None = None
    hold_s: float | None = Field(None, ge=0)
    clear_s: float | None = Field(None, ge=0)
    slack: float | None = Field(None, ge=0)
    repeat_s: float | None = Field(None, ge=0)
    enabled: bool | None = None


class AlertChannel(BaseModel):
    """A way to people or programs, and how it does. Secrets are not shown."""

    name: str
    address: str
    level: AlertLevel = Field(description="From this one on it is told.")
    failures: int = Field(description="Tries in a row, up to the last one, that have failed.")
    worked_at: str | None = None
    failed_at: str | None = None
    error: str | None = None


class ChannelTested(BaseModel):
    """How a test message went."""

    name: str
    sent: bool
    error: str | None = None
