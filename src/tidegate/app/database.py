"""The database of record of this process."""

from __future__ import annotations

from tidegate.app.folders import check_file_is_ours, database_of, open_folders, root_of
from tidegate.runtime.probe import MachineProbe
from tidegate.runtime.publish import DataFolders
from tidegate.settings import Settings
from tidegate.store import Pool, SqlStore, open_store
from tidegate.store.facts import DatabaseFacts, look


def open_database(settings: Settings, *, allow_newer: bool = False) -> SqlStore:
    """Connect, and make or renew its tables. Raises SettingError and Unavailable. `allow_newer`: see `SqlStore`."""
    check_file_is_ours(settings)
    return open_store(
        database_of(settings),
        max_concurrent=settings.max_concurrent,
        pool=pool_of(settings, _cpus(settings)),
        archive_by_month=settings.archive_by_month,
        allow_newer=allow_newer,
    )


def upgrade_database(settings: Settings) -> DatabaseFacts:
    """Make or renew the tables, as every start does; what the database is then. Raises SettingError and Unavailable."""
    check_file_is_ours(settings, made_by_us=False)
    open_folders(DataFolders(root_of(settings)))
    open_database(settings).close()
    return look(database_of(settings))


def pool_of(settings: Settings, cpus: int) -> Pool:
    """The pool for a machine or container of so many CPUs."""
    return Pool.of(cpus, settings.environment, size=settings.db_pool_size, overflow=settings.db_max_overflow)


def _cpus(settings: Settings) -> int:
    capacity = settings.offered(MachineProbe(root_of(settings)).capacity())
    return max(1, capacity.cpu_milli // 1000)
