"""SQLite: one file, for one server.

Write-ahead log with a full sync at every commit, so that what was acknowledged survives a kill and a power cut; one writing
connection behind a lock, begun with BEGIN IMMEDIATE; readers have connections of their own and never wait for it.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, bindparam, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from tidegate.errors import SettingError
from tidegate.ports import PoolStats
from tidegate.store.engine import (
    Database,
    Duplicate,
    Raced,
    Row,
    Statement,
    Tx,
    Unstorable,
    raced_too_often,
    run,
    unavailable,
)
from tidegate.store.numbers import ADVANCE, VALUE
from tidegate.store.schema import wanted

P = ParamSpec("P")
R = TypeVar("R")

_RACES = 3
_READERS = 4
_READER_CACHE_KIB = 1000
_WRITER_CACHE_KIB = 4000
"""Each connection keeps pages of its own until it has that many, so what a server has grows with its database up to the sum,
8 MB. With 16 MB each it grew by a quarter in half an hour of work, with twice of these by a tenth. Behind the caches
stands that of the system: with half, the rates of submissions with 0 and 100,000 waiting did not change measurably."""
_OUT_OF_ORDER = (sqlite3.OperationalError, OperationalError)  # as the driver and as SQLAlchemy raise it
_REFUSED = (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, OverflowError)
_HINT = "See whether its disk is full and who else uses it."

_FORGET = Statement(wanted.delete())
_WANT = Statement(
    wanted.insert().values({c.name: bindparam(c.name) for c in wanted.c}), "job_id number attempt"
)


class SqliteTx(Tx):
    """A transaction that has the database to itself."""

    __slots__ = ()
    locks = False

    def want(self, keys: Iterable[Row]) -> None:
        self.run(_FORGET)
        self.many(_WANT, list(keys))

    def _execute(self, statement: Statement, row: Row) -> None:
        self.cursor.execute(statement.on(self.dialect).text, row)

    def many(self, statement: Statement, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        self.cursor.executemany(statement.on(self.dialect).text, rows)
        return self.cursor.rowcount  # type: ignore[no-any-return]

    def take(self, sequence: str, count: int) -> int:
        if not self.run(ADVANCE, (count, sequence)):
            raise Raced
        row = self.one(VALUE, (sequence,))
        assert row is not None
        return int(row[0])


class SqliteDatabase(Database):
    """One SQLite file."""

    _tx: Callable[[Connection, Any], Tx] = SqliteTx

    def __init__(self, url: URL) -> None:
        _make_private(_path(url))
        self._engine = _engine(url)
        self._lock = threading.Lock()
        try:
            self._writer = self._engine.connect()
            self._writer.exec_driver_sql(f"PRAGMA cache_size=-{_WRITER_CACHE_KIB}").close()
        except _OUT_OF_ORDER as error:
            raise unavailable("opened", error, _HINT) from error
        self._readers: queue.LifoQueue[Connection | None] = queue.LifoQueue()  # None: not opened yet
        for _ in range(_READERS):
            self._readers.put(None)

    def write(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            for _ in range(_RACES):
                try:
                    return run(self._writer, ("BEGIN IMMEDIATE",), self._tx, work, *args, **kwargs)
                except Raced:
                    continue
                except _OUT_OF_ORDER as error:
                    raise unavailable("written", error, _HINT) from error
                except sqlite3.IntegrityError as error:
                    raise (Duplicate if "UNIQUE" in str(error) else Unstorable)(str(error)) from error
                except _REFUSED as error:
                    raise Unstorable(str(error)) from error
        raise raced_too_often(work, _RACES)

    def read(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        connection = self._readers.get()
        try:
            if connection is None:
                connection = self._engine.connect()
            return run(connection, ("BEGIN",), self._tx, work, *args, **kwargs)
        except _OUT_OF_ORDER as error:
            raise unavailable("read", error, _HINT) from error
        finally:
            self._readers.put(connection)

    def stats(self) -> PoolStats:
        """One connection writes, the others read; there are never more."""
        reading = _READERS - self._readers.qsize()
        return PoolStats("sqlite", 1 + _READERS, self._lock.locked() + reading, 0, 0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield  # the server holds its data directory, and a write holds the file

    def close(self) -> None:
        for _ in range(_READERS):
            reader = self._readers.get()
            if reader is not None:
                reader.close()
        with self._lock:
            self._writer.close()
        self._engine.dispose()


def _engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        poolclass=NullPool,  # connections are held open by the database
        # The driver must not begin transactions by itself: it would do so only at the first write, and a reader turned
        # writer may find that it is too late.
        connect_args={
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": 30,
            "cached_statements": 256,
        },
    )
    event.listen(engine, "connect", _configure)
    return engine


def _configure(dbapi_connection: Any, _record: Any) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=30000",
        "wal_autocheckpoint=2000",  # pages of 4 KiB
        f"cache_size=-{_READER_CACHE_KIB}",  # KiB
        "temp_store=MEMORY",
    ):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()
    dbapi_connection.execute(str(CreateTable(wanted))).close()


def _path(url: URL) -> Path:
    """The database's file. Raises SettingError."""
    if not url.database or url.database == ":memory:":
        raise SettingError(
            f"The database must be a SQLite file such as sqlite:////data/tidegate.db, not {str(url)!r}."
        )
    return Path(url.database)


def _make_private(path: Path) -> None:
    """Create the file readable by its owner alone, since it holds users' SQL; SQLite's own files beside it follow it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
