"""Statements and transactions, for every database alike; `store.dialects` knows one database from another.

Frequent statements are written in SQLAlchemy Core, compiled once and given to the driver directly, since rows through
`Connection.execute` cost several times what the database needs for them (see docs/decisions/store.md).
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from tidegate.errors import BrokenInvariant, SettingError, Unavailable
from tidegate.ports import PoolStats

P = ParamSpec("P")
R = TypeVar("R")
Row = tuple[Any, ...]


class Raced(Exception):
    """Another writer changed what this transaction had read, or waited for it while it waited; it is rolled back and run
    again."""


class Duplicate(Exception):
    """A row with this key is there already."""


class Unstorable(Exception):
    """The database or its driver refuses a value."""


def expect(changed: int, wanted: int) -> None:
    """Raise Raced unless a conditional write changed as many rows as it was meant to."""
    if changed != wanted:
        raise Raced


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as one dialect has it, with its parameters in the order of its text."""

    text: str
    order: tuple[str, ...]
    types: tuple[TypeEngine[Any], ...]


class Statement:
    """A Core expression, compiled once per dialect. `order` names its parameters in the order in which rows give them."""

    __slots__ = ("_compiled", "_expression", "_order")

    def __init__(self, expression: Executable, order: str = "") -> None:
        self._expression = expression
        self._order = tuple(order.split())
        self._compiled: dict[str, Compiled] = {}

    def on(self, dialect: Dialect) -> Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        return compiled

    def _compile(self, dialect: Dialect) -> Compiled:
        compiled = self._expression.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        order = tuple(compiled.positiontup or ())
        if order != self._order:
            raise BrokenInvariant(f"{compiled} takes {order}, not {self._order}.")
        return Compiled(compiled.string, order, tuple(compiled.binds[name].type for name in order))


class Tx(ABC):
    """One transaction."""

    __slots__ = ("_connection", "cursor", "dialect")

    locks = True
    """Whether others may write at the same time, so that rows have to be locked."""

    def __init__(self, connection: Connection, cursor: Any) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self.cursor = cursor

    @property
    def connection(self) -> Connection:
        """For Core statements that are not frequent."""
        return self._connection

    def begin(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.cursor.execute(statement)

    def commit(self) -> None:
        """Raises Raced when it turns out only now that a row of `each` was not there."""
        # SQLAlchemy's bookkeeping, 0.1 ms each time, runs only for those that used its connection.
        connection = self._connection
        (connection if connection.in_transaction() else connection.connection).commit()

    @abstractmethod
    def want(self, keys: Iterable[Row]) -> None:
        """Fill the table `wanted` with these (job, number, attempt) for the statements that join it next."""

    @abstractmethod
    def _execute(self, statement: Statement, row: Row) -> None: ...

    @abstractmethod
    def many(self, statement: Statement, rows: Sequence[Row]) -> int:
        """Run once for each row, all of which concern different rows of the table; how many of those it changed in all."""

    def each(self, statement: Statement, rows: Sequence[Row]) -> None:
        """As `many`, where each row has to change exactly one. Raises Raced, here or later in the transaction: it may be sent
        together with what follows."""
        expect(self.many(statement, rows), len(rows))

    def do(self, statement: Statement, row: Row = ()) -> None:
        """Run it for what it does; nobody needs its answer. It may be sent together with what follows."""
        self._execute(statement, row)

    @abstractmethod
    def take(self, sequence: str, count: int) -> int:
        """Advance a counter; the new value. Its row stays locked until this transaction ends."""

    def number(self, sequence: str, statement: Statement, rows: Sequence[Row]) -> None:
        """Insert rows under the next numbers of a sequence, as `take` gives them.

        Each row says in its second place which of them it gets, from 0 on.
        """
        first = self.take(sequence, len(rows)) - len(rows) + 1
        self.each(statement, [(row[0], first + row[1], *row[2:]) for row in rows])

    def scan(self) -> None:  # noqa: B027  most databases see it by themselves
        """What follows reads whole tables."""

    def divide_archive(self) -> None:
        """Have the tables of the archive divided by months. Raises SettingError where the database cannot do that."""
        raise SettingError(
            "The archive can be divided by months on PostgreSQL only. Leave `archive_by_month` off."
        )

    def make_room(self, table: str, first: int, last: int) -> None:  # noqa: B027  most need none
        """Rows of these instants are to come into a table of the archive."""

    def drop_months(self, table: str, before: int) -> int:
        """Forget the months of a table of the archive that ended before, if it lies in months; how many rows."""
        return 0

    def rows(self, statement: Statement, row: Row = ()) -> list[Row]:
        self._execute(statement, row)
        return self.cursor.fetchall()  # type: ignore[no-any-return]

    def one(self, statement: Statement, row: Row = ()) -> Row | None:
        self._execute(statement, row)
        return self.cursor.fetchone()  # type: ignore[no-any-return]

    def run(self, statement: Statement, row: Row = ()) -> int:
        """How many rows it changed."""
        self._execute(statement, row)
        return self.cursor.rowcount  # type: ignore[no-any-return]


class Database(ABC):
    """Connections and transactions. Functions given to `write` and `read` run inside one, with a `Tx` first."""

    @abstractmethod
    def write(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run in a writing transaction, committed when it returns. Runs again when it raced with another writer.

        Raises Unavailable when the database is away, full or otherwise out of order; whether the work was stored is then
        unknown only if the connection broke in the commit itself. Raises Duplicate and Unstorable; nothing is stored then.
        """

    @abstractmethod
    def read(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run on one consistent state of the database. Raises Unavailable."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Keep out all others who want to be alone: for making and changing the tables."""

    @abstractmethod
    def stats(self) -> PoolStats:
        """How many connections there are and may be. Does not block."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections, after the transactions under way have ended."""


def run(
    connection: Connection,
    begin: Sequence[str],
    make: Callable[[Connection, Any], Tx],
    work: Callable[Concatenate[Tx, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """One transaction on the driver's own connection."""
    cursor = connection.connection.cursor()
    try:
        tx = make(connection, cursor)
        tx.begin(begin)
        result = work(tx, *args, **kwargs)
        tx.commit()
        return result
    except BaseException:
        _roll_back(connection)
        raise
    finally:
        with contextlib.suppress(Exception):  # its connection is gone
            cursor.close()


def _roll_back(connection: Connection) -> None:
    try:
        (connection if connection.in_transaction() else connection.connection).rollback()
    except Exception:  # noqa: BLE001  it cannot be used any more; what the caller hears is why
        connection.invalidate()


def unavailable(what: str, error: object, hint: str) -> Unavailable:
    why = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
    return Unavailable(
        f"The database cannot be {what} at the moment: {why}. {hint}",
        code="database_unavailable",
    )


def raced_too_often(work: Callable[..., Any], times: int) -> BrokenInvariant:
    return BrokenInvariant(
        f"{work.__name__} found its rows changed {times} times by other writers; nothing was stored."
    )
