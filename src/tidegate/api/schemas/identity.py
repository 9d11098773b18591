"""Shapes of keys, callers and the audit trail."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.api.schemas.common import Shape

RoleText = Literal["viewer", "user", "operator", "admin"]


class KeyRequest(Shape):
    """A key to be made."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"owner": "ann", "role": "user", "expires_in_days": 90}}
    )
    owner: str = Field(min_length=1, max_length=63, description="Whose jobs and sources it opens.")
    role: RoleText
    name: str = Field("", max_length=200, description="What it is for; for people.")
    expires_in_days: float | None = Field(None, gt=0, le=3660, description="Default: it does not expire.")


class Key(BaseModel):
    """What is kept of a key. The key itself is nowhere."""

    key_id: str
    owner: str
    role: RoleText
    name: str
    state: Literal["valid", "expired", "revoked"]
    created_at: str
    created_by: str
    expires_at: str | None = None
    last_used_at: str | None = Field(None, description="Within a minute.")
    revoked_at: str | None = None
    revoked_by: str | None = None


class NewKey(Key):
    """A key that was just made: the only answer that ever shows it."""

    key: str


class Whoami(BaseModel):
    """Who the server takes the caller for."""

    owner: str
    role: RoleText
    key_id: str | None = Field(None, description="Null where no key is needed.")


class AuditRow(BaseModel):
    """Who did what."""

    id: int
    at: str
    actor: str
    role: RoleText
    key_id: str | None = None
    action: str
    object: str
    outcome: str
    request_id: str | None = None
    address: str | None = None
    detail: dict[str, Any]
