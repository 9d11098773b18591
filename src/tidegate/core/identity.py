"""Who asks, and what that role may do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tidegate.errors import InvalidInput

LOCAL_OWNER = "local"
"""Whoever reaches a server without keys on loopback, and commands that work on the database itself."""
_OWNER = re.compile(r"[a-z0-9][a-z0-9_.@+-]{0,62}")


class Role(StrEnum):
    """What a caller may do, each role all that the one before may.

    `viewer` reads, `user` submits and controls what is its own, `operator` sees and controls all jobs, queues and workers,
    `admin` also keys and settings.
    """

    VIEWER = "viewer"
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"

    def may(self, least: Role) -> bool:
        """Whether this role is at least `least`."""
        return _RANKS[self] >= _RANKS[least]


_RANKS = {role: rank for rank, role in enumerate(Role)}


class Action(StrEnum):
    """What is written to the audit trail."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    ADD_SOURCE = "source.add"
    DELETE_SOURCE = "source.delete"
    CHANGE_QUEUE = "queue.change"
    CREATE_KEY = "key.create"
    REVOKE_KEY = "key.revoke"
    CONTROL_WORKER = "worker.control"
    CHANGE_PRESSURE_RULES = "pressure.rules"
    ACT_ON_PRESSURE = "pressure.act"
    ACKNOWLEDGE_ALERT = "alert.acknowledge"
    SILENCE_ALERTS = "alert.silence"
    CHANGE_ALERT_RULE = "alert.rule"
    TEST_CHANNEL = "alert.test"
    SAFE_MODE = "safe_mode"
    RELEASE_TASK = "task.release"
    REPORT_USAGE = "usage.report"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes one request: an owner's name and role, and what the audit trail keeps of where it came from."""

    owner: str
    role: Role
    at: datetime
    key_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    traceparent: str | None = None
    """In which trace it is made, if in one."""

    @property
    def sees_all(self) -> bool:
        """Whether other owners' jobs and sources exist for this caller."""
        return self.role.may(Role.OPERATOR)

    def sees(self, owner: str) -> bool:
        return self.sees_all or owner == self.owner


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit trail: who did what to what, when, from where. `id` is 0 until it is stored."""

    at: datetime
    actor: str
    role: Role
    action: Action
    object: str
    outcome: str = "done"
    key_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    id: int = 0


def entry(
    caller: Caller,
    action: Action,
    object: str,
    *,
    outcome: str = "done",
    detail: Mapping[str, str | int | float | bool | None] | None = None,
) -> AuditEntry:
    """What a caller did. `object` names it: `job 81`, `queue etl`, `key 0a1b2c3d4e`; 255 characters at most."""
    return AuditEntry(
        caller.at, caller.owner, caller.role, action, object[:255], outcome, caller.key_id,
        caller.request_id, caller.address, dict(detail or {}),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as stored: everything but the key itself, of which only the SHA-256 is kept."""

    id: str
    digest: str
    owner: str
    role: Role
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def key_view(key: KeyRecord, now: datetime) -> dict[str, str | None]:
    """What is shown of a key, ready for JSON."""
    state = "revoked" if key.revoked_at else "valid" if key.valid(now) else "expired"
    return {
        "key_id": key.id,
        "owner": key.owner,
        "role": key.role.value,
        "name": key.name,
        "state": state,
        "created_at": _text(key.created_at),
        "created_by": key.created_by,
        "expires_at": _text(key.expires_at),
        "last_used_at": _text(key.last_used_at),
        "revoked_at": _text(key.revoked_at),
        "revoked_by": key.revoked_by,
    }


def _text(at: datetime | None) -> str | None:
    """`2026-01-31T08:00:00.000Z`."""
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_owner_name(name: object) -> str:
    """The name, if an owner may have it. Raises InvalidInput.

    Lower case only, so that two owners never differ in case alone; `/` never, since it parts owner and name in keys of tables.
    """
    if not isinstance(name, str) or not _OWNER.fullmatch(name) or ".." in name:
        raise InvalidInput(
            f"owner must be 1 to 63 lower-case letters, digits, or _ . @ + -, not {name!r:.80}.",
            numbers={"field": "owner"},
        )
    return name


def parse_role(text: object) -> Role:
    """The role of that name. Raises InvalidInput that lists them."""
    try:
        return Role(str(text))
    except ValueError:
        raise InvalidInput(
            f"role must be one of {', '.join(Role)}, not {text!r:.80}.", numbers={"field": "role"}
        ) from None
