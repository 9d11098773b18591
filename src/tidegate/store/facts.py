"""What a database says of itself, looked at without changing it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import inspect

from tidegate.store.clock import time
from tidegate.store.dialects import open_database, parse
from tidegate.store.engine import Tx
from tidegate.store.pool import Pool
from tidegate.store.schema import REVISIONS
from tidegate.store.versions import version_of
from tidegate.store.workers import workers_of


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """`revision` is that of its tables, None when it has none yet; `newest` that of this program."""

    url: str
    """Without the password."""
    product: str
    revision: str | None
    newest: str
    now: datetime
    """The database's time, at the moment of the question."""
    shared_paths: dict[str, str]
    """Of each present worker: the id of the folder that it sees as the shared path; empty when it has not said."""


def look(url: str) -> DatabaseFacts:
    """Raises SettingError for what is no database, Unavailable when it cannot be reached."""
    database = open_database(url, Pool())
    try:
        return database.read(_facts, parse(url).render_as_string(hide_password=True))
    finally:
        database.close()


def _facts(tx: Tx, shown: str) -> DatabaseFacts:
    dialect = tx.connection.dialect
    number = ".".join(str(part) for part in dialect.server_version_info or ())
    revision = version_of(tx)
    current = revision == REVISIONS[-1] and inspect(tx.connection).has_table("workers")
    return DatabaseFacts(
        url=shown,
        product=f"{dialect.name} {number}",
        revision=revision,
        newest=REVISIONS[-1],
        now=time(tx),
        shared_paths={
            worker.id: worker.versions.get("shared_path", "") for worker in workers_of(tx) if worker.present
        }
        if current
        else {},
    )
