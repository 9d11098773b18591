"""API keys and the audit trail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidegate.core.identity import Action, AuditEntry, Caller, KeyRecord


class KeyStore(Protocol):
    """API keys, without the keys themselves."""

    def add_key(self, key: KeyRecord, by: Caller | None = None) -> None:
        """Raises Conflict when there is a key with this id."""
        ...

    def all_keys(self) -> list[KeyRecord]:
        """All, also those that were revoked or have expired, in the order in which they were made."""
        ...

    def revoke_key(self, key_id: str, at: datetime, by: Caller | None = None) -> KeyRecord:
        """From now on the key opens nothing. Doing so again changes nothing. Raises NotFound."""
        ...

    def touch_keys(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were used last; an earlier instant than the stored one changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows of the audit trail are wanted; None means any. Newest first, ids below `before_id`, of what was done from
    `since` up to and without `until`."""

    actor: str | None = None
    action: Action | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before_id: int | None = None
    limit: int = 50


class AuditStore(Protocol):
    """Who did what. Most rows are written by the write they tell of, in its transaction (`by`)."""

    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        """For what has its effect outside the store."""
        ...

    def audit(self, filter: AuditFilter) -> list[AuditEntry]: ...

    def prune_audit(self, before: datetime) -> int:
        """Forget what happened before; how many rows."""
        ...
