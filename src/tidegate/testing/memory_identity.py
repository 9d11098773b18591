"""`KeyStore` and `AuditStore` in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tidegate.core.identity import Action, AuditEntry, Caller, KeyRecord
from tidegate.errors import Conflict, NotFound
from tidegate.ports import AuditFilter
from tidegate.testing.memory_state import MemoryState, locked


class MemoryIdentity(MemoryState):
    """`KeyStore` and `AuditStore` in memory."""

    @locked
    def add_key(self, key: KeyRecord, by: Caller | None = None) -> None:
        if key.id in self._api_keys:
            raise Conflict(f"There is a key {key.id} already.")
        self._api_keys[key.id] = key
        self._note(
            by, Action.CREATE_KEY, f"key {key.id}", owner=key.owner, role=key.role.value, name=key.name
        )

    @locked
    def all_keys(self) -> list[KeyRecord]:
        return sorted(self._api_keys.values(), key=lambda key: (key.created_at, key.id))

    @locked
    def revoke_key(self, key_id: str, at: datetime, by: Caller | None = None) -> KeyRecord:
        known = self._api_keys.get(key_id)
        if known is None:
            raise NotFound(f"There is no key {key_id!r:.60}. `tidegate key list` shows those there are.")
        if known.revoked_at is None:
            known = replace(known, revoked_at=at, revoked_by=by.owner if by else known.created_by)
            self._api_keys[key_id] = known
            self._note(by, Action.REVOKE_KEY, f"key {key_id}", owner=known.owner)
        return known

    @locked
    def touch_keys(self, used: Mapping[str, datetime]) -> None:
        for key_id, at in used.items():
            known = self._api_keys.get(key_id)
            if known is not None and (known.last_used_at is None or known.last_used_at < at):
                self._api_keys[key_id] = replace(known, last_used_at=at)

    @locked
    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        for each in entries:
            self._append(each)

    @locked
    def audit(self, filter: AuditFilter) -> list[AuditEntry]:
        found = [
            each
            for each in reversed(self._audit)
            if filter.actor in (None, each.actor)
            and filter.action in (None, each.action)
            and filter.object in (None, each.object)
            and (filter.before_id is None or each.id < filter.before_id)
            and (filter.since is None or each.at >= filter.since)
            and (filter.until is None or each.at < filter.until)
        ]
        return found[: filter.limit]

    @locked
    def prune_audit(self, before: datetime) -> int:
        kept = [each for each in self._audit if each.at >= before]
        pruned, self._audit = len(self._audit) - len(kept), kept
        return pruned
