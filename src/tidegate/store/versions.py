"""Which version of the tables a database has, and bringing it to this one.

Alembic takes 0.4 s to import, so a database that is at this version, or empty, is served without it.
"""

from __future__ import annotations

import importlib
import logging

from sqlalchemy import inspect, select, text

from tidegate.errors import Unavailable
from tidegate.store.engine import Database, Tx
from tidegate.store.schema import REVISIONS, leader, metadata, sequences


class NewerDatabase(Unavailable):
    """A newer Tidegate has made the tables."""


log = logging.getLogger("tidegate.store")

SEQUENCES = ("job", "change", "event")


def prepare(db: Database, url: str, *, archive_by_month: bool = False) -> None:
    """Make the tables what this version needs. Raises Unavailable when a newer Tidegate has made them."""
    if db.read(version_of) != REVISIONS[-1]:
        _renew(db, url)
    if archive_by_month:
        with db.alone():
            db.write(_divide_archive)


def _renew(db: Database, url: str) -> None:
    with db.alone():
        version = db.read(version_of)  # another server may have been quicker
        if version is None:
            db.write(_create)
        elif version not in REVISIONS:
            raise NewerDatabase(
                f"The database has revision {version}, made by a newer Tidegate; this one knows up to {REVISIONS[-1]}. "
                "Install the newer Tidegate, or start with another database."
            )
        elif version != REVISIONS[-1]:
            log.warning("The tables are brought from revision %s to %s.", version, REVISIONS[-1])
            importlib.import_module("tidegate.store.migrate").upgrade(url)


def _divide_archive(tx: Tx) -> None:
    tx.divide_archive()


def version_of(tx: Tx) -> str | None:
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
    """The newest tables at once, as the migrations would have made them (a test compares).

    The table of the version comes first and its row last: MySQL commits after each table, and what it had not finished is
    then taken up again.
    """
    if version_of(tx) is not None:
        return
    tx.connection.execute(
        text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    )
    metadata.create_all(tx.connection)
    made = set(tx.connection.scalars(select(sequences.c.name)))
    rows = [{"name": name, "value": 0} for name in SEQUENCES if name not in made]
    if rows:
        tx.connection.execute(sequences.insert(), rows)
    if not tx.connection.scalar(select(leader.c.name)):
        tx.connection.execute(leader.insert(), {"name": "scheduler", "epoch": 0, "lease_until": 0})
    tx.connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": REVISIONS[-1]})
