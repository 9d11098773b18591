"""Keys made, listed and revoked in the database itself: how a server gets its first one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tidegate.app.database import open_database
from tidegate.app.folders import check_file_is_ours, open_folders, root_of
from tidegate.core.identity import LOCAL_OWNER, Caller, KeyRecord, Role, key_view
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.publish import DataFolders
from tidegate.server.doorkeeper import new_key
from tidegate.settings import Settings
from tidegate.store import SqlStore


class LocalKeys:
    """The keys of a database. Whoever may write that is believed; the audit trail names `local`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._clock = SystemClock()

    def create(
        self, owner: str, role: Role, *, name: str = "", expires_in_days: float | None = None
    ) -> dict[str, Any]:
        """Make a key; the answer shows it, this once. Raises InvalidInput."""
        by = self._caller()
        key, record = new_key(owner, role, name=name, life_days=expires_in_days, by=by.owner, now=by.at)
        self._store.add_key(record, by)
        return {"key": key, **self._view(record)}

    def list(self) -> list[dict[str, Any]]:
        """All keys, also those that open nothing any more."""
        return [self._view(record) for record in self._store.all_keys()]

    def revoke(self, key_id: str) -> dict[str, Any]:
        """From now on it opens nothing, on running servers within seconds. Raises NotFound."""
        by = self._caller()
        return self._view(self._store.revoke_key(key_id, by.at, by))

    def _caller(self) -> Caller:
        return Caller(LOCAL_OWNER, Role.ADMIN, self._clock.now())

    def _view(self, record: KeyRecord) -> dict[str, Any]:
        return key_view(record, self._clock.now())


@contextlib.contextmanager
def local_keys(settings: Settings) -> Iterator[LocalKeys]:
    """The keys of the settings' database, which is made where there is none; a server may be running on it.

    Raises SettingError for another user than the server's, who could not use the files that this would make.
    """
    check_file_is_ours(settings, made_by_us=False)
    open_folders(DataFolders(root_of(settings)))
    store = open_database(settings)
    try:
        yield LocalKeys(store)
    finally:
        store.close()
