"""Keys made, listed and revoked in the database itself: how a server gets its first one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidegate.app.database import open_database
from tidegate.app.folders import check_file_is_ours, open_folders, root_of
from tidegate.core.identity import LOCAL_OWNER, Caller, KeyRecord, Role, key_view
from tidegate.core.keys import key_id_of
from tidegate.errors import Conflict, SettingError
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.publish import DataFolders
from tidegate.server.doorkeeper import key_record, new_key
from tidegate.settings import Settings
from tidegate.store import SqlStore

_FIRST = "the first key"


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

    def first(self, file: Path, owner: str) -> dict[str, Any] | None:
        """See that an admin's key opens the database: the one in `file`, which is made (mode 600) where there is none.

        None, and nothing is done, when a valid key is known. Any number may call this at once with the same file: one key
        comes of it. Raises SettingError for a file that holds something else or cannot be used, Conflict for a revoked key.
        """
        by = self._caller()
        known = self._store.all_keys()
        if any(key.valid(by.at) for key in known):
            return None
        fresh, _ = new_key(owner, Role.ADMIN, name=_FIRST, by=by.owner, now=by.at)
        text = key_in(file, fresh)
        record = key_record(text, owner, Role.ADMIN, name=_FIRST, by=by.owner, now=by.at)
        if any(key.id == record.id for key in known):
            raise Conflict(
                f"The key in {file} is known, and opens nothing any more. Remove the file for a new one."
            )
        with contextlib.suppress(Conflict):  # another one has added it at the same moment
            self._store.add_key(record, by)
        return self._view(record)

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


def key_in(file: Path, fresh: str) -> str:
    """The key that a file holds. Where there is no file it is made, whole at once, with `fresh`; whoever is first wins.

    Raises SettingError.
    """
    try:
        if not file.exists():
            _put(file, fresh)
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no text"
        raise SettingError(f"The file {file} for the first key cannot be used: {why}.") from None
    if key_id_of(text) is None:
        raise SettingError(
            f"The file {file} holds no API key: that is tg_, ten hexadecimal digits, _ and 43 characters."
        )
    return text


def _put(file: Path, text: str) -> None:
    descriptor, written = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # its mode is 600
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(text + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(written, file)
    finally:
        os.unlink(written)


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
