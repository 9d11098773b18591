"""Which version of the tables a database has, and bringing it to this one.

Alembic takes 0.4 s to import, so a database that is at this version, or empty, is served without it.
"""

from __future__ import annotations

import importlib

from sqlalchemy import inspect, text

from tidegate.errors import Unavailable
from tidegate.store.engine import Database, Tx
from tidegate.store.schema import REVISIONS, metadata, sequences

SEQUENCES = ("job", "change", "event")


def prepare(db: Database, url: str) -> None:
    """Make the tables what this version needs. Raises Unavailable when a newer Tidegate has made them."""
    version = db.read(_version)
    if version == REVISIONS[-1]:
        return
    if version is None:
        db.write(_create)
        return
    if version not in REVISIONS:
        raise Unavailable(
            f"The database has revision {version}, made by a newer Tidegate; this one knows up to {REVISIONS[-1]}. "
            "Install the newer Tidegate, or start with another data directory."
        )
    importlib.import_module("tidegate.store.migrate").upgrade(url)


def _version(tx: Tx) -> str | None:
    """The database's revision; None for an empty database."""
    inspector = inspect(tx.connection)
    if not inspector.has_table("alembic_version"):
        if inspector.has_table("jobs"):
            raise Unavailable(
                "The database has tables named like Tidegate's, but not made by it. Use another one."
            )
        return None
    version = tx.connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def _create(tx: Tx) -> None:
    """The newest tables at once, as the migrations would have made them (a test compares)."""
    if _version(tx) is not None:
        return  # another process was quicker
    metadata.create_all(tx.connection)
    tx.connection.execute(sequences.insert(), [{"name": name, "value": 0} for name in SEQUENCES])
    tx.connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    tx.connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": REVISIONS[-1]})
