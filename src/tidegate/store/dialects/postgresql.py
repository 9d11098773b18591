"""PostgreSQL by psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.types import TypeEngine

from tidegate.errors import BrokenInvariant, Unavailable
from tidegate.store.dialects import months
from tidegate.store.dialects.network import ROWS, NetworkDatabase, NetworkTx, from_rows, kind_of, parts
from tidegate.store.engine import Compiled, Duplicate, Raced, Row, Statement, Unstorable, expect
from tidegate.store.numbers import ADVANCE_RETURNING
from tidegate.store.pool import Pool

_TYPES = {int: "BIGINT", float: "DOUBLE PRECISION", str: "TEXT"}
_SESSION = {
    # Joins are written in the order in which they are quick, keys first. Without statistics, as right after a bulk of jobs,
    # the planner would read whole tables.
    "join_collapse_limit": "1",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",  # a table that was empty when statistics were gathered would be read whole and kept for a join
    "jit": "off",
    # A server that stands still in the middle of a transaction must not keep its locks from the others.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "10s",
}
_FOR_SCANS = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material")
_CONNECT: dict[str, Any] = {
    "autocommit": True,  # transactions are begun by the store
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
    "application_name": "tidegate",
}
_MOST_UNSENT_ROWS = 4000
"""Rows that wait to be sent with others: about 4 MB."""
_TABLES = 0x7469_6465  # the advisory lock of those who change the tables
_TAKEN = (
    "WITH taken AS (UPDATE sequences SET value = value + %s WHERE name = %s RETURNING value - %s AS first) "
)
_INSERT = re.compile(r"(INSERT INTO .+?) VALUES \((.*)\)", re.DOTALL)
_UPDATE = re.compile(r"(UPDATE .+?) WHERE (.*)", re.DOTALL)
_KEY = re.compile(rf"\w+\.\w+ = {ROWS}\.c\d+(::\w+)?")
_WHERE = re.compile(r"(.+?)\bWHERE (.+?)((?: ORDER BY| FOR |\s*$).*)", re.DOTALL)
_DELETE = re.compile(r"(DELETE FROM .+?) WHERE (.*)", re.DOTALL)


def with_driver(url: URL) -> URL:
    """The URL as SQLAlchemy shall read it."""
    return url.set(drivername="postgresql+psycopg")


class _Unsent(NamedTuple):
    """A statement that waits to be sent with others; `wanted` rows are to be changed by it, None: that is no question."""

    text: str
    values: Row
    wanted: int | None


class PostgresTx(NetworkTx):
    """Sends what nobody needs an answer to together with the next statement that is asked something, as one pipeline.

    All that is locked stays so while the database waits for our next word, and under load a thread of ours waits for its
    turn after each answer: of two servers' commits most of the time was that (see docs/decisions/store.md).
    """

    __slots__ = ("_driver", "_unsent", "_unsent_rows")

    def __init__(self, connection: Connection, cursor: Any) -> None:
        super().__init__(connection, cursor)
        self._driver: psycopg.Connection[Any] = cursor.connection
        self._unsent: list[_Unsent] = []
        self._unsent_rows = 0

    @property
    def connection(self) -> Connection:
        if self._unsent:
            self._flush()
        return self._connection

    def begin(self, statements: Sequence[str]) -> None:
        self._unsent += (_Unsent(statement, (), None) for statement in statements)

    def _cursor_now(self) -> Any:
        """The cursor, once nothing waits to be sent."""
        if self._unsent:
            self._flush()
        return self.cursor

    def commit(self) -> None:
        judged = max((i for i, one in enumerate(self._unsent, 1) if one.wanted is not None), default=0)
        if judged:  # whether they may be committed is only known then
            later = self._unsent[judged:]
            del self._unsent[judged:]
            self._flush()
            self._unsent = later
        if self._connection.in_transaction():
            self.connection.commit()
        else:
            self._send("COMMIT", ())

    def each(self, statement: Statement, rows: Sequence[Row]) -> None:
        inserts = statement.on(self.dialect).text.startswith("INSERT")
        for part in parts(rows):
            alone = len(part) == 1
            made = self._for_row(statement, part[0]) if alone else self._for_rows(statement, part)
            self._unsent.append(_Unsent(*made, None if inserts else len(part)))
            self._unsent_rows += len(part)
        if self._unsent_rows > _MOST_UNSENT_ROWS:
            self._flush()

    def do(self, statement: Statement, row: Row = ()) -> None:
        self._unsent.append(_Unsent(*self._for_row(statement, row), None))

    def number(self, sequence: str, statement: Statement, rows: Sequence[Row]) -> None:
        for part in parts(rows):  # the sequence stays locked until the commit: its number is not waited for
            text, values = self._for_rows(statement, part)
            numbered = text.replace(f"{ROWS}.c1::", f"(SELECT first FROM taken) + {ROWS}.c1::", 1)
            first = part[0][1]
            count = len(part)
            self._unsent.append(
                _Unsent(f"{_TAKEN}{numbered}", (count, sequence, first + count - 1, *values), None)
            )
            self._unsent_rows += count

    def _for_row(self, statement: Statement, row: Row) -> tuple[str, Row]:
        return super()._for_row(statement, _without_nul(row))

    def _send(self, text: str, values: Row) -> None:
        if self._unsent:
            self._flush(lambda: self.cursor.execute(text, values))
        else:
            self.cursor.execute(text, values)

    def _flush(self, with_it: Callable[[], object] = lambda: None) -> None:
        """Send what waits, and what `with_it` sends; judge how many rows were changed."""
        unsent, self._unsent, self._unsent_rows = self._unsent, [], 0
        with self._driver.pipeline():
            cursors = [self._driver.execute(one.text, one.values) for one in unsent]
            with_it()
        for one, cursor in zip(unsent, cursors, strict=True):
            if one.wanted is not None:
                expect(cursor.rowcount, one.wanted)

    def take(self, sequence: str, count: int) -> int:
        row = self.one(ADVANCE_RETURNING, (count, sequence))
        if row is None:
            raise BrokenInvariant(f"There is no counter {sequence!r}.")
        return int(row[0])

    def scan(self) -> None:
        for name in _FOR_SCANS:
            self._send(f"SET LOCAL {name} = on", ())

    def make_room(self, table: str, first: int, last: int) -> None:
        months.make_room(self._cursor_now(), table, first, last)

    def drop_months(self, table: str, before: int) -> int:
        return months.drop(self._cursor_now(), table, before)

    def _in_order(self, text: str) -> str:
        if match := _WHERE.fullmatch(text):
            return f"{match[1]}WHERE {_by_keys(match[2])}{match[3]}"
        return text

    def divide_archive(self) -> None:
        months.divide(self._cursor_now())

    def _source(self, name: str, columns: Sequence[str], types: Sequence[TypeEngine[Any]]) -> str:
        arrays = ", ".join(f"%s::{_TYPES[kind_of(type_)]}[]" for type_ in types)
        return f"unnest({arrays}) AS {name}({', '.join(columns)})"

    def _as_set(self, rows: Sequence[Row], types: Sequence[TypeEngine[Any]]) -> Row:
        columns = zip(*rows, strict=True) if rows else ([] for _ in types)
        return tuple(_array(kind_of(type_), column) for type_, column in zip(types, columns, strict=True))

    def _for_set(self, compiled: Compiled) -> str:
        source, text = self._set_of(compiled), from_rows(compiled.text)
        if match := _INSERT.fullmatch(text):
            return f"{match[1]} SELECT {match[2]} FROM {source}"
        if match := _UPDATE.fullmatch(text):
            return f"{match[1]} FROM {source} WHERE {_by_keys(match[2])}"
        if match := _DELETE.fullmatch(text):
            return f"{match[1]} USING {source} WHERE {_by_keys(match[2])}"
        raise BrokenInvariant(f"Not for many rows: {compiled.text}")


def _by_keys(where: str) -> str:
    """The same condition, of which the planner sees the keys alone.

    It takes a condition such as `state = 'queued'` to hold for next to no row, until it is told otherwise, and would then
    look at every row of the table for each row of the set (1.2 s for 500 of 3,000). Of a CASE it believes that it holds
    for half.
    """
    conditions = where.split(" AND ")
    others = " AND ".join(each for each in conditions if not _KEY.fullmatch(each))
    keys = [each for each in conditions if _KEY.fullmatch(each)]
    return " AND ".join([*keys, f"CASE WHEN {others} THEN TRUE ELSE FALSE END"] if others else keys)


def _array(kind: type[int | float | str], values: Sequence[Any]) -> list[Any]:
    """The driver takes arrays of one type only, and words of an enum are not `str` to it."""
    if kind is int:
        return list(values)
    if kind is float:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value).replace("\0", "\ufffd") for value in values]


def _without_nul(row: Sequence[Any]) -> Row:
    """PostgreSQL's text holds any character but this one, which a job may well print: it becomes �, so that its end can be
    recorded all the same."""
    return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row)


def _clean(
    _connection: object, _cursor: object, statement: str, given: Any, _context: object, many: bool
) -> tuple[str, Any]:
    return statement, [_without_nul(row) for row in given] if many else _without_nul(given)


class PostgresDatabase(NetworkDatabase):
    """PostgreSQL 13 or later."""

    _tx = PostgresTx
    _begin_read = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
    _driver_error = psycopg.Error

    def __init__(self, url: URL, pool: Pool) -> None:
        given = url.query.get("options", "")
        options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        engine = create_engine(
            with_driver(url).difference_update_query(["options"]),
            paramstyle="format",
            use_native_hstore=False,  # it would ask each new connection for its type
            connect_args={**_CONNECT, "options": f"{options} {given}"},
            **pool.arguments(),
        )
        event.listen(engine, "before_cursor_execute", _clean, retval=True)
        super().__init__(engine, pool.overflow)

    def _lock(self) -> tuple[str, str]:
        return f"SELECT pg_advisory_lock({_TABLES})", f"SELECT pg_advisory_unlock({_TABLES})"

    def _judge(self, error: Exception) -> type[Raced | Duplicate | Unstorable | Unavailable] | None:
        if isinstance(error, errors.UniqueViolation):
            return Duplicate
        if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure | errors.LockNotAvailable):
            return Raced
        if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
            return Unstorable
        if isinstance(error, psycopg.ProgrammingError):  # without a code it comes from the driver
            return Unstorable if getattr(error, "sqlstate", None) is None else None
        return Unavailable
