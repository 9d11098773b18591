"""What the databases behind a network share: a pool of connections, transactions beside each other, sets instead of loops.

Writers run side by side under READ COMMITTED. What a decision reads it locks first, always in the order jobs, `change`,
workers, queues, sources, `event`, and rows of a table in the order of their keys; what happens to deadlock all the same is
rolled back by the database and run again. Readers see one snapshot.

A statement for many rows is sent once: its rows travel as one set that the statement joins, since every statement costs a
round trip.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from sqlalchemy import BigInteger, Connection, Engine, Float, Integer, String, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool, QueuePool
from sqlalchemy.types import TypeEngine

from tidegate.errors import BrokenInvariant, Unavailable
from tidegate.ports import PoolStats
from tidegate.store.engine import (
    Compiled,
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
from tidegate.store.schema import wanted

P = ParamSpec("P")
R = TypeVar("R")

ROWS = "tidegate_rows"
"""The name of the set of rows that a statement joins."""
_RACES = 8
_DUPLICATES = 2
_AT_ONCE = 2000  # rows of a set: a few hundred KiB
_WANTED = re.compile(rf"\b{wanted.name}\b(?!\.)")
_WANTED_TYPES = (BigInteger(), Integer(), Integer())
_HINT = "See whether it runs and can be reached."


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement's text, and whether the wanted keys are its first parameters."""

    text: str
    wants: bool


class NetworkTx(Tx):
    """A transaction beside others."""

    __slots__ = ("_keys",)
    _prepared: ClassVar[dict[Statement, Prepared]]
    _sets: ClassVar[dict[Statement, str]]

    def __init_subclass__(cls) -> None:
        cls._prepared, cls._sets = {}, {}

    def want(self, keys: Iterable[Row]) -> None:
        self._keys = self._as_set(sorted(keys), _WANTED_TYPES)

    def _execute(self, statement: Statement, row: Row) -> None:
        self._send(*self._for_row(statement, row))

    def _send(self, text: str, values: Row) -> None:
        self.cursor.execute(text, values)

    def _for_row(self, statement: Statement, row: Row) -> tuple[str, Row]:
        """A statement for one row, as the driver takes it."""
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = self._prepare(statement.on(self.dialect))
        return prepared.text, (*self._keys, *row) if prepared.wants else row

    def many(self, statement: Statement, rows: Sequence[Row]) -> int:
        if len(rows) == 1:
            return self.run(statement, rows[0])
        return sum(self._many(statement, part) for part in parts(rows))

    def _many(self, statement: Statement, rows: Sequence[Row]) -> int:
        self._send(*self._for_rows(statement, rows))
        return self.cursor.rowcount  # type: ignore[no-any-return]

    def _for_rows(self, statement: Statement, rows: Sequence[Row]) -> tuple[str, Row]:
        """A statement for a set of rows, as the driver takes it."""
        compiled = statement.on(self.dialect)
        text = self._sets.get(statement)
        if text is None:
            text = self._sets[statement] = self._for_set(compiled)
        return text, self._as_set(rows, compiled.types)

    def _prepare(self, compiled: Compiled) -> Prepared:
        before, *after = _WANTED.split(compiled.text, maxsplit=1)
        if not after:
            return Prepared(compiled.text, wants=False)
        if "%s" in before:
            raise BrokenInvariant(f"A parameter stands before the wanted keys in {compiled.text}.")
        source = self._source(wanted.name, wanted.c.keys(), _WANTED_TYPES)
        return Prepared(self._in_order(f"{before}{source}{after[0]}"), wants=True)

    def _in_order(self, text: str) -> str:
        """A query that shall join its tables in the order in which it names them."""
        return text

    @abstractmethod
    def _source(self, name: str, columns: Sequence[str], types: Sequence[TypeEngine[Any]]) -> str:
        """A set of rows as an element of FROM, with its parameters."""

    @abstractmethod
    def _as_set(self, rows: Sequence[Row], types: Sequence[TypeEngine[Any]]) -> Row:
        """The parameters of a set."""

    @abstractmethod
    def _for_set(self, compiled: Compiled) -> str:
        """A statement for one row, turned into one for a set named `ROWS` with the columns c0, c1, ..."""

    def _set_of(self, compiled: Compiled) -> str:
        return self._source(ROWS, [f"c{i}" for i in range(len(compiled.types))], compiled.types)


def parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in sets that one statement takes."""
    return (rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE))


def from_rows(text: str) -> str:
    """A text whose parameters are taken from the set `ROWS`."""
    first, *others = text.split("%s")
    return first + "".join(f"{ROWS}.c{i}{other}" for i, other in enumerate(others))


def kind_of(type_: TypeEngine[Any]) -> type[int | float | str]:
    """Whether a column holds integers, floats or text. Raises BrokenInvariant."""
    if isinstance(type_, Integer):
        return int
    if isinstance(type_, Float):
        return float
    if isinstance(type_, String):
        return str
    raise BrokenInvariant(f"A set cannot hold {type_!r}.")


class NetworkDatabase(Database):
    """A pool of connections to a database server."""

    _tx: Callable[[Connection, Any], Tx]
    _begin_write: tuple[str, ...] = ("BEGIN",)
    _begin_read: tuple[str, ...]
    _driver_error: type[Exception]

    def __init__(self, engine: Engine, max_overflow: int) -> None:
        self._engine = engine
        self._max_overflow = max_overflow

    def write(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        duplicates = 0
        for _ in range(_RACES):
            try:
                return self._run(self._begin_write, work, *args, **kwargs)
            except Raced:
                continue
            except (self._driver_error, DBAPIError, PoolTimeout) as error:
                meaning = self._meaning("written", error)
                duplicates += isinstance(meaning, Duplicate)
                # Who came second in a race for a name finds it taken at the next try, and can say so.
                if not isinstance(meaning, Raced | Duplicate) or duplicates > _DUPLICATES:
                    raise meaning from error
        raise raced_too_often(work, _RACES)

    def read(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._run(self._begin_read, work, *args, **kwargs)
        except (self._driver_error, DBAPIError, PoolTimeout) as error:
            raise self._meaning("read", error) from error

    def _run(
        self,
        begin: Sequence[str],
        work: Callable[Concatenate[Tx, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with self._engine.connect() as connection:
            return run(connection, begin, self._tx, work, *args, **kwargs)

    def _meaning(self, what: str, error: Exception) -> Exception:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, self._driver_error):
            meaning = self._judge(cause)
            if meaning is None:
                return cause
            if meaning is not Unavailable:
                return meaning(str(cause))
        return unavailable(what, cause, _HINT)

    @abstractmethod
    def _judge(self, error: Exception) -> type[Raced | Duplicate | Unstorable | Unavailable] | None:
        """What an error of the driver means; None for what only a mistake in this program can cause."""

    @abstractmethod
    def _lock(self) -> tuple[str, str]:
        """Statements that take and give back the lock of `alone`."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        take, give = self._lock()
        # A connection of its own: those of the pool do not wait for long, and changes of large tables take their time.
        engine = create_engine(self._engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                if connection.exec_driver_sql(take).scalar() == 0:
                    raise unavailable(
                        "prepared", "another server has been changing its tables for an hour", _HINT
                    )
                yield
                connection.exec_driver_sql(give).close()
        except DBAPIError as error:
            raise self._meaning("prepared", error) from error
        finally:
            engine.dispose()

    def stats(self) -> PoolStats:
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        size, out = pool.size(), pool.checkedout()
        return PoolStats(self._engine.dialect.name, size, out, max(out - size, 0), self._max_overflow)

    def close(self) -> None:
        self._engine.dispose()
