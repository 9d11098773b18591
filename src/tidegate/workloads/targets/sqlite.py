"""SQLite, by Python's own driver: all rows in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import _duckdb as duckdb

from tidegate.workloads.errors import TaskError
from tidegate.workloads.targets import stream
from tidegate.workloads.targets.address import Address
from tidegate.workloads.targets.base import MARK, SqlTarget
from tidegate.workloads.targets.dialect import Dialect, Table, TableColumn
from tidegate.workloads.targets.failures import failure, refused_row
from tidegate.workloads.targets.fitting import Family, Holds, Source
from tidegate.workloads.targets.model import LOADS, LoadOrder, Progress
from tidegate.workloads.targets.names import NameRules, plain
from tidegate.workloads.targets.plan import Plan

_WAIT_S = 86_400.0
"""For others who write: how long is for the attempt's time limit to say."""
_PROGRESS_ROWS = 8192
_HOLDS = Holds(Family.ANY, finite=True)
"""A column takes any value, but for NaN, which SQLite would make null."""
_AS_THEY_ARE = {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_TYPES = {
    "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIMESTAMP": "TIMESTAMP", "TIME": "TIME", "DOUBLE": "DOUBLE", "FLOAT": "DOUBLE",
    **dict.fromkeys(_AS_THEY_ARE - {"BOOLEAN"}, "INTEGER"),
}  # fmt: skip
_EXACT_DIGITS = 15
"""Of a decimal that SQLite keeps as a double."""


def _type_for(source: Source, _key: int | None) -> str:
    """SQLite would make doubles of longer decimals and lose digits; as text they keep them."""
    if source.sql.startswith("DECIMAL("):
        return "NUMERIC" if int(source.sql[8:].partition(",")[0]) <= _EXACT_DIGITS else "DECIMAL_TEXT"
    return _TYPES.get(source.sql, "TEXT")


def _rendered(source: Source, _family: Family, expression: str) -> str:
    if source.sql == "BOOLEAN":
        return f"CAST({expression} AS TINYINT)"
    if source.sql in _AS_THEY_ARE or source.sql in ("VARCHAR", "DOUBLE"):
        return expression
    return f"CAST({expression} AS {'DOUBLE' if source.sql == 'FLOAT' else 'VARCHAR'})"


class SqliteTarget(SqlTarget):
    """One file. Whether it uses a write-ahead log is left as it is."""

    dialect: ClassVar[Dialect] = Dialect(
        title="SQLite",
        names=NameRules('"', 1000, len, plain),
        most_columns=2000,
        type_for=_type_for,
        bad_rows_types=(
            "TEXT",
            "TEXT",
            "TEXT",
            "INTEGER",
            "INTEGER",
            "TEXT",
            "TEXT",
            "TEXT",
            "TEXT",
            "BOOLEAN",
        ),
        rendered=_rendered,
    )

    def __init__(self, address: Address, con: duckdb.DuckDBPyConnection, staging: str) -> None:
        super().__init__(con, staging)
        self._sent = 0
        with _explained(address.database):
            self._db = sqlite3.connect(address.database, timeout=_WAIT_S, isolation_level=None)
            self._db.execute("PRAGMA temp_store = FILE")
        self._path = address.database

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _errors(self, order: LoadOrder) -> Iterator[None]:
        self._sent = 0
        try:
            with _explained(self._path):
                yield
        except sqlite3.IntegrityError as error:
            raise refused_row(str(error), self._sent or None) from None

    @contextmanager
    def _alone(self, order: LoadOrder) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._run("ROLLBACK")

    def _settle(self, order: LoadOrder, home: str) -> None:
        self._run("COMMIT")

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(sql.replace(MARK, "?"), values).fetchall()

    def _qualified(self, order: LoadOrder, name: str) -> str:
        return f"main.{self.dialect.names.quoted(name)}"

    def _describe(self, order: LoadOrder, name: str) -> Table | None:
        found = self._run(
            "SELECT type FROM main.sqlite_master WHERE lower(name) = lower(?) AND type IN ('table', 'view')",
            (name,),
        )
        if not found:
            return None
        if found[0][0] == "view":
            raise TaskError(f"{name!r} is a view of the database; rows go into tables.", code="not_a_table")
        rows = self._run(
            "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main')",
            (name,),
        )
        columns = tuple(
            TableColumn(column, kind, _HOLDS, bool(required), default is not None, hidden > 1)
            for column, kind, required, default, _pk, hidden in rows
        )
        keys = frozenset(row[0] for row in rows if row[4])
        return Table(columns, ((keys,) if keys else ()) + tuple(self._indexes(name)))

    def _indexes(self, name: str) -> Iterator[frozenset[str]]:
        listed = self._run(
            "SELECT name FROM pragma_index_list(?, 'main') WHERE \"unique\" AND NOT partial", (name,)
        )
        for (index,) in listed:
            columns = [row[0] for row in self._run("SELECT name FROM pragma_index_info(?, 'main')", (index,))]
            if None not in columns:
                yield frozenset(columns)

    def _make_loads_table(self, order: LoadOrder) -> None:
        self._run(
            f"CREATE TABLE IF NOT EXISTS {self._qualified(order, LOADS)} (load_id TEXT PRIMARY KEY, "
            "target_table TEXT NOT NULL, file TEXT NOT NULL, sheet TEXT NOT NULL, mode TEXT NOT NULL, "
            "row_count INTEGER NOT NULL, bad_row_count INTEGER NOT NULL, "
            "loaded_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )

    def _create(self, order: LoadOrder, name: str, definitions: str) -> None:
        self._run(f"CREATE TABLE {self._qualified(order, name)} ({definitions})")

    def _empty(self, order: LoadOrder) -> None:
        self._run(f"DELETE FROM {self._qualified(order, order.table)}")

    def _add_columns(self, order: LoadOrder, name: str, columns: Sequence[tuple[str, str]]) -> None:
        for column, kind in columns:
            self._run(
                f"ALTER TABLE {self._qualified(order, name)} ADD COLUMN {self.dialect.names.quoted(column)} {kind}"
            )

    def _send(
        self, order: LoadOrder, table: str, columns: Sequence[str], query: str, progress: Progress
    ) -> int:
        marks = ", ".join("?" * len(columns))
        self._sent = 0
        rows = self._counted(stream.rows(self._con, query), progress)
        into = table if table.startswith("temp.") else self._qualified(order, table)
        self._db.executemany(
            f"INSERT INTO {into} ({self.dialect.names.listed(columns)}) VALUES ({marks})", rows
        )
        progress(self._sent)
        return self._sent

    def _counted(self, rows: Iterable[tuple[Any, ...]], progress: Progress) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            self._sent += 1
            if self._sent % _PROGRESS_ROWS == 0:
                progress(self._sent)
            yield row

    def _landing(self, order: LoadOrder, home: str, plan: Plan) -> str:
        """The columns' affinities and so their equality are those of `home`; of rows with the same keys the last stays."""
        listed, source = self.dialect.names.listed(plan.names), self._qualified(order, home)
        self._run("DROP TABLE IF EXISTS temp.tidegate_landing")
        self._run(f"CREATE TEMP TABLE tidegate_landing AS SELECT {listed} FROM {source} LIMIT 0")
        return "temp.tidegate_landing"

    def _merge(self, order: LoadOrder, landing: str, home: str, plan: Plan) -> tuple[int, int]:
        names, into = self.dialect.names, self._qualified(order, home)
        keys = names.listed(plan.keys)
        # The index sees to it that each key is looked up and not searched for; what it holds last is the last row.
        self._run(f"CREATE INDEX temp.tidegate_landing_keys ON tidegate_landing ({keys})")
        same = " AND ".join(f"later.{k} = {landing}.{k}" for k in map(names.quoted, plan.keys))
        later = f"SELECT 1 FROM {landing} AS later WHERE {same} AND later.rowid > {landing}.rowid"
        self._run(f"DELETE FROM {landing} WHERE EXISTS ({later})")
        at = " AND ".join(f"home.{k} = l.{k}" for k in map(names.quoted, plan.keys))
        pairs = ", ".join(f"{c} = l.{c}" for c in map(names.quoted, plan.others or plan.keys))
        updated = self._db.execute(
            f"UPDATE {into} AS home SET {pairs} FROM {landing} AS l WHERE {at}"
        ).rowcount
        listed = names.listed(plan.names)
        inserted = self._db.execute(
            f"INSERT INTO {into} ({listed}) SELECT {listed} FROM {landing} AS l "
            f"WHERE NOT EXISTS (SELECT 1 FROM {into} AS home WHERE {at}) ORDER BY l.rowid"
        ).rowcount
        return inserted, updated


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise failure(
            f"The database file {path!r}", str(error), code=_code(error), retry=_passes(error)
        ) from None


def _code(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_CANTOPEN"):
        return "target_unreachable"
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return "target_denied"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "not_a_database"
    if name.startswith("SQLITE_FULL"):
        return "target_full"
    return "target_busy" if _passes(error) else "target_error"


def _passes(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorname", "") or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
