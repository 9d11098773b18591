"""MariaDB and MySQL by PyMySQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from tidegate.errors import BrokenInvariant, Unavailable
from tidegate.store.dialects.network import NetworkDatabase, NetworkTx, from_rows, kind_of
from tidegate.store.engine import Compiled, Duplicate, Raced, Row, Statement, Unstorable, unavailable
from tidegate.store.pool import Pool
from tidegate.store.types import COLLATIONS

_CONNECT: dict[str, Any] = {
    "autocommit": True,  # transactions are begun by the store
    "charset": "utf8mb4",
    "connect_timeout": 5,
    "read_timeout": 120,
    "write_timeout": 30,
    "program_name": "tidegate",
}
_SESSION = {
    "innodb_lock_wait_timeout": "10",
    "sql_mode": "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
}
# A server that stands still in the middle of a transaction must not keep its locks from the others. MySQL has no such guard.
_MARIADB_SESSION = {"idle_transaction_timeout": "5"}
_DUPLICATE = {1062, 1586}
_RACED = {1020, 1205, 1213}  # changed since last read, lock wait timeout, deadlock
_REFUSED = {1048, 1264, 1265, 1364, 1366, 1367, 1406, 4038, 4041, 4042, 4174, 3140, 3141}
_INSERT = re.compile(r"(INSERT INTO .+?) VALUES (\(.*\))", re.DOTALL)
_UPDATE = re.compile(r"UPDATE (\S+) SET (.*)", re.DOTALL)
_DELETE = re.compile(r"DELETE FROM (\S+) WHERE (.*)", re.DOTALL)
_INSERT_BYTES = 1 << 20  # of one statement; the server's least limit is 16 MiB by default


class MysqlTx(NetworkTx):
    __slots__ = ()

    def take(self, sequence: str, count: int) -> int:
        changed = self.cursor.execute(
            "UPDATE sequences SET value = LAST_INSERT_ID(value + %s) WHERE name = %s", (count, sequence)
        )
        if changed != 1:
            raise BrokenInvariant(f"There is no counter {sequence!r}.")
        return int(self.cursor.lastrowid)  # comes with the answer: no second question

    def _source(self, name: str, columns: Sequence[str], types: Sequence[TypeEngine[Any]]) -> str:
        collation = COLLATIONS[self.dialect.name]
        listed = ", ".join(
            f"{column} {_json_type(type_, collation)} PATH '$[{i}]'"
            for i, (column, type_) in enumerate(zip(columns, types, strict=True))
        )
        return f"JSON_TABLE(%s, '$[*]' COLUMNS ({listed})) AS {name}"

    def _as_set(self, rows: Sequence[Row], types: Sequence[TypeEngine[Any]]) -> Row:
        return (json.dumps(rows, ensure_ascii=False, separators=(",", ":")),)

    def _in_order(self, text: str) -> str:
        return text.replace("SELECT", "SELECT STRAIGHT_JOIN", 1)

    def _many(self, statement: Statement, rows: Sequence[Row]) -> int:
        compiled = statement.on(self.dialect)
        match = _INSERT.fullmatch(compiled.text)
        if match is None:
            return super()._many(statement, rows)
        # Spelled out, so that each column judges its values itself.
        return sum(self.cursor.execute(f"{match[1]} VALUES {part}") for part in self._spelled(match[2], rows))

    def _spelled(self, template: str, rows: Sequence[Row]) -> Iterator[str]:
        parts: list[str] = []
        size = 0
        for row in rows:
            parts.append(self.cursor.mogrify(template, row))
            size += len(parts[-1])
            if size > _INSERT_BYTES:
                yield ",".join(parts)
                parts, size = [], 0
        if parts:
            yield ",".join(parts)

    def _for_set(self, compiled: Compiled) -> str:
        source, text = self._set_of(compiled), from_rows(compiled.text)
        # The set's parameter must come first, and the set must lead the join.
        if match := _UPDATE.fullmatch(text):
            return f"UPDATE {source} STRAIGHT_JOIN {match[1]} SET {match[2]}"
        if match := _DELETE.fullmatch(text):
            return f"DELETE {match[1]} FROM {source} STRAIGHT_JOIN {match[1]} WHERE {match[2]}"
        raise BrokenInvariant(f"Not for many rows: {compiled.text}")


def _json_type(type_: TypeEngine[Any], collation: str) -> str:
    kind = kind_of(type_)
    if kind is not str:
        return "BIGINT" if kind is int else "DOUBLE"
    length = getattr(type_, "length", None)
    # A key of no length finds no index. What is too long is cut off without a word: one character more than the column has
    # lets that refuse it.
    text = f"VARCHAR({length + 1})" if length else "LONGTEXT"
    return f"{text} CHARACTER SET utf8mb4 COLLATE {collation}"


class MysqlDatabase(NetworkDatabase):
    """MariaDB 10.6, MySQL 8.0 or later."""

    _tx = MysqlTx
    _begin_read = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION READ ONLY")
    _driver_error = pymysql.Error

    def __init__(self, url: URL, pool: Pool) -> None:
        self._name = url.database or ""
        super().__init__(_engine(with_driver(url), pool), pool.overflow)

    def _lock(self) -> tuple[str, str]:
        name = f"tidegate.tables.{self._name}"[:64]
        return f"SELECT GET_LOCK('{name}', 3600)", f"SELECT RELEASE_LOCK('{name}')"

    def _judge(self, error: Exception) -> type[Raced | Duplicate | Unstorable | Unavailable] | None:
        code = error.args[0] if error.args else None
        if code in _DUPLICATE:
            return Duplicate
        if code in _RACED:
            return Raced
        if code in _REFUSED or isinstance(error, pymysql.DataError):
            return Unstorable
        return None if isinstance(error, pymysql.ProgrammingError) else Unavailable


def with_driver(url: URL) -> URL:
    """The URL as SQLAlchemy shall read it. MariaDB and MySQL differ in collations and in what they can return, so the
    server is asked which it is. Raises Unavailable."""
    probe = create_engine(url.set(drivername="mysql+pymysql"), poolclass=NullPool, connect_args=_CONNECT)
    try:
        with probe.connect():
            mariadb = getattr(probe.dialect, "is_mariadb", False)
    except DBAPIError as error:
        raise unavailable("opened", error, "See whether it runs and can be reached.") from error
    return url.set(drivername="mariadb+pymysql" if mariadb else "mysql+pymysql")


def _engine(url: URL, pool: Pool) -> Engine:
    engine = create_engine(url, paramstyle="format", connect_args=_CONNECT, **pool.arguments())
    session = _SESSION | (_MARIADB_SESSION if url.drivername.startswith("mariadb") else {})
    settings = "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in session.items())

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(settings)

    return engine
