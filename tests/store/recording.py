"""What a version of Tidegate says to its database, written down, so that it can be said again to newer tables.

During an upgrade servers of the version before go on working on tables that are already new. Their code is not here any more,
but its statements are: `python -m tests.store.recording` writes those of this version to `tests/store/recorded/`, which
is done before the tables change, and `test_upgrades.py` replays them.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from tests.store.story import tell
from tidegate.store import SqlStore, open_store
from tidegate.store.schema import REVISIONS, wanted
from tidegate.testing.servers import MariaDB, PostgreSQL

FOLDER = Path(__file__).parent / "recorded"
Said = list[list[Any]]
"""Text, parameters, the number of rows it changed or found, and the rows it found."""
_OF_TRANSACTIONS = ("BEGIN", "COMMIT", "SET TRANSACTION", "START TRANSACTION")
"""Not written down: a replay commits each statement by itself."""
_OF_THE_CONNECTION = "DELETE FROM wanted"
"""How many rows it finds depends on what its connection did before; a store has several, a replay one."""


class _Cursor:
    """Passes everything on and writes down what it was."""

    def __init__(self, cursor: Any, said: Said) -> None:
        self._cursor, self._said = cursor, said
        self._line: list[Any] | None = None
        self._total: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    @property
    def connection(self) -> _Driver:
        return _Driver(self._cursor.connection, self._said)

    @property
    def rowcount(self) -> int:
        self.settle()
        return self._cursor.rowcount if self._total is None else self._total

    def execute(self, text: str, row: Any = ()) -> Any:
        self.settle()
        self._total = None
        answer = self._cursor.execute(text, row) if row else self._cursor.execute(text)
        self._line = [text, _plain(row), None, None]
        self._said.append(self._line)
        if not self._in_pipeline():
            self.settle()
        return answer

    def executemany(self, text: str, rows: Any) -> None:
        total = 0
        for row in rows:
            self.execute(text, row)
            total += self.rowcount
        self._total = total

    def fetchall(self) -> Any:
        self.settle()
        rows = self._cursor.fetchall()
        self._said[-1][3] = _plain(rows)
        return rows

    def fetchone(self) -> Any:
        self.settle()
        row = self._cursor.fetchone()
        self._said[-1][3] = _plain([] if row is None else [row])
        return row

    def settle(self) -> None:
        """Write down how many rows it were: of what is sent in a pipeline that is known only after its end."""
        if self._line is not None:
            self._line[2], self._line = self._cursor.rowcount, None

    def _in_pipeline(self) -> bool:
        driver = getattr(self._cursor.connection, "pgconn", None)
        return driver is not None and bool(driver.pipeline_status)


class _Driver:
    """A connection of PostgreSQL's driver. It is told itself what is sent together with the next statement of a cursor."""

    def __init__(self, connection: Any, said: Said) -> None:
        self._connection, self._said = connection, said
        self._cursors: list[_Cursor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, text: str, row: Any) -> _Cursor:
        cursor = _Cursor(self._connection.cursor(), self._said)
        cursor.execute(text, row)
        self._cursors.append(cursor)
        return cursor

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[None]:
        with self._connection.pipeline():
            yield
        for cursor in self._cursors:
            cursor.settle()
        self._cursors.clear()


def _plain(rows: Any) -> Any:
    return json.loads(json.dumps(rows, default=str))


def record(url: str, story: Callable[[SqlStore], None]) -> Said:
    """Tell the story on an empty database; what was said."""
    store = open_store(url)
    said: Said = []
    database: Any = store._db
    make = database._tx
    database._tx = lambda connection, cursor: make(connection, _Cursor(cursor, said))

    @event.listens_for(database._engine, "before_cursor_execute", named=True)
    def note(**given: Any) -> None:
        rows = given["parameters"] if given["executemany"] else [given["parameters"]]
        said.extend([given["statement"], _plain(row), None, None] for row in rows)

    story(store)
    store.close()
    return [line for line in said if not line[0].startswith(_OF_TRANSACTIONS)]


def replay(url: str, said: Said) -> list[str]:
    """Say it again; what was answered otherwise."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    different: list[str] = []
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        if engine.dialect.name == "sqlite":
            cursor.execute(str(CreateTable(wanted)))
        for text, row, count, rows in said:
            cursor.execute(text, row) if row else cursor.execute(text)
            found = _plain(cursor.fetchall()) if cursor.description else None
            counted = count is not None and not text.startswith(_OF_THE_CONNECTION)
            if (counted and cursor.rowcount != count) or not _same(found, rows, text):
                different.append(f"{text} {row}: {cursor.rowcount} {found}, not {count} {rows}")
    engine.dispose()
    return different


def _same(found: list[Any] | None, rows: list[Any] | None, text: str) -> bool:
    """Without ORDER BY a database may answer in any order, and does so when a table has changed."""
    if found is None or rows is None or "ORDER BY" in text:
        return rows is None or found == rows
    return sorted(found, key=repr) == sorted(rows, key=repr)


def _databases() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as postgresql, MariaDB() as mariadb:
        yield "sqlite", f"sqlite:///{folder}/tidegate.db"
        yield "postgresql", postgresql.create_database()
        yield "mariadb", mariadb.create_database()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, url in _databases():
        lines = [json.dumps(each, ensure_ascii=False) for each in record(url, tell)]
        (FOLDER / f"{name}-{REVISIONS[-1]}.jsonl").write_text("\n".join(lines) + "\n")
        print(name, len(lines))


if __name__ == "__main__":
    main()
