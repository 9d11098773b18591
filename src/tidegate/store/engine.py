"""How the database is opened, and the only place that knows one database from another.

SQLite: write-ahead log with a full sync at every commit, so that what was acknowledged survives a kill and a power cut; one
writing connection behind a lock, begun with BEGIN IMMEDIATE; readers have connections of their own and never wait for it.

Frequent statements are written in SQLAlchemy Core, compiled once and given to the driver directly, since rows through
`Connection.execute` cost several times what SQLite needs for them (see docs/decisions/store.md).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, Engine, bindparam, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from tidegate.errors import BrokenInvariant, SettingError, Unavailable
from tidegate.store.schema import wanted

P = ParamSpec("P")
R = TypeVar("R")
Row = tuple[Any, ...]

_RACES = 3
_OUT_OF_ORDER = (sqlite3.OperationalError, OperationalError)  # as the driver and as SQLAlchemy raise it
DUPLICATE = sqlite3.IntegrityError
"""A row with this key is there already."""
UNSTORABLE = (
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    OverflowError,
)
"""The driver refuses a value."""
_READERS = 4


class Raced(Exception):
    """Another writer changed what this transaction had read; it is rolled back and run again."""


def expect(changed: int, wanted: int) -> None:
    """Raise Raced unless a conditional write changed as many rows as it was meant to."""
    if changed != wanted:
        raise Raced


class Statement:
    """A Core expression, compiled once per dialect. `order` names its parameters in the order in which rows give them."""

    __slots__ = ("_expression", "_order", "_texts")

    def __init__(self, expression: Executable, order: str = "") -> None:
        self._expression = expression
        self._order = order.split()
        self._texts: dict[str, str] = {}

    def text(self, dialect: Dialect) -> str:
        text = self._texts.get(dialect.name)
        if text is None:
            text = self._texts[dialect.name] = self._compile(dialect)
        return text

    def _compile(self, dialect: Dialect) -> str:
        compiled = self._expression.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        if list(compiled.positiontup or ()) != self._order:
            raise BrokenInvariant(f"{compiled} takes {compiled.positiontup}, not {self._order}.")
        return compiled.string


_FORGET = Statement(wanted.delete())
_WANT = Statement(
    wanted.insert().values({c.name: bindparam(c.name) for c in wanted.c}), "job_id number attempt"
)


class Tx:
    """One transaction. `connection` is for Core statements that are not frequent."""

    __slots__ = ("_cursor", "_dialect", "connection")

    def __init__(self, connection: Connection, cursor: Any) -> None:
        self.connection = connection
        self._dialect = connection.dialect
        self._cursor = cursor

    def want(self, keys: Iterable[Row]) -> None:
        """Fill the table `wanted` with these (job, number, attempt) for the statement that joins it next."""
        self.run(_FORGET)
        self.many(_WANT, list(keys))

    def rows(self, statement: Statement, row: Row = ()) -> list[Row]:
        self._cursor.execute(statement.text(self._dialect), row)
        return self._cursor.fetchall()  # type: ignore[no-any-return]

    def one(self, statement: Statement, row: Row = ()) -> Row | None:
        self._cursor.execute(statement.text(self._dialect), row)
        return self._cursor.fetchone()  # type: ignore[no-any-return]

    def run(self, statement: Statement, row: Row = ()) -> int:
        """How many rows it changed."""
        self._cursor.execute(statement.text(self._dialect), row)
        return self._cursor.rowcount  # type: ignore[no-any-return]

    def many(self, statement: Statement, rows: Sequence[Row]) -> int:
        """Run once for each row; how many rows of the table that changed in all."""
        if not rows:
            return 0
        self._cursor.executemany(statement.text(self._dialect), rows)
        return self._cursor.rowcount  # type: ignore[no-any-return]


class Database:
    """Connections and transactions. Functions given to `write` and `read` run inside one, with a `Tx` first."""

    def __init__(self, url: str) -> None:
        _make_private(_sqlite_path(url))
        self._engine = _sqlite_engine(url)
        self._lock = threading.Lock()
        self._writer = self._engine.connect()
        self._readers: queue.LifoQueue[Connection | None] = queue.LifoQueue()  # None: not opened yet
        for _ in range(_READERS):
            self._readers.put(None)

    def write(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run in a writing transaction, committed when it returns. Runs again when it raced with another writer.

        Raises Unavailable when the disk is full or the database otherwise out of order; nothing is stored then.
        """
        with self._lock:
            for _ in range(_RACES):
                try:
                    return _run(self._writer, "BEGIN IMMEDIATE", work, *args, **kwargs)
                except Raced:
                    continue
                except _OUT_OF_ORDER as error:
                    raise _unavailable("written", error) from error
        raise BrokenInvariant(
            f"{work.__name__} found its rows changed {_RACES} times by other writers; nothing was stored."
        )

    def read(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run on one consistent state of the database."""
        connection = self._readers.get()
        try:
            if connection is None:
                connection = self._engine.connect()
            return _run(connection, "BEGIN", work, *args, **kwargs)
        except _OUT_OF_ORDER as error:
            raise _unavailable("read", error) from error
        finally:
            self._readers.put(connection)

    def close(self) -> None:
        """Close all connections, after the transactions under way have ended."""
        for _ in range(_READERS):
            reader = self._readers.get()
            if reader is not None:
                reader.close()
        with self._lock:
            self._writer.close()
        self._engine.dispose()


def _run(
    connection: Connection,
    begin: str,
    work: Callable[Concatenate[Tx, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """One transaction on the driver's own connection. SQLAlchemy's bookkeeping, 0.1 ms each time, runs only for those
    that use `Tx.connection`."""
    cursor = connection.connection.cursor()
    cursor.execute(begin)
    try:
        result = work(Tx(connection, cursor), *args, **kwargs)
    except BaseException:
        (connection if connection.in_transaction() else connection.connection).rollback()
        raise
    else:
        (connection if connection.in_transaction() else connection.connection).commit()
        return result
    finally:
        cursor.close()


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=NullPool,  # connections are held open by Database
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
        "cache_size=-16000",  # KiB
        "temp_store=MEMORY",
    ):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()
    dbapi_connection.execute(str(CreateTable(wanted))).close()


def _unavailable(what: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"The database cannot be {what} at the moment: {getattr(error, 'orig', error)}. "
        "See whether its disk is full and who else uses it.",
        code="database_unavailable",
    )


def _sqlite_path(url: str) -> Path:
    """The database's file. Raises SettingError for any other database."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingError(
            f"The database must be a URL such as sqlite:////data/tidegate.db, not {url!r}."
        ) from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        shown = parsed.render_as_string(hide_password=True)
        raise SettingError(
            f"The database must be a SQLite file such as sqlite:////data/tidegate.db, not {shown!r}."
        )
    return Path(parsed.database)


def _make_private(path: Path) -> None:
    """Create the file readable by its owner alone, since it holds users' SQL; SQLite's own files beside it follow it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
