"""Extracts made from SQL, and a plain look into the databases they are loaded into."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import _duckdb as duckdb
import psycopg
import pymysql

from tidegate.workloads.tables.model import Column, ColumnType, Extract
from tidegate.workloads.targets.address import Address, parse_address
from tidegate.workloads.targets.model import LoadOrder, LoadReport, Mode, load_id_of
from tidegate.workloads.targets.opening import open_target

_TYPES = {kind.sql: kind for kind in ColumnType}


class Lab:
    """A folder with a DuckDB connection, and one database to load into."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.address = parse_address(url)
        self.kind = self.address.kind
        self.folder = folder
        self.con = duckdb.connect(":memory:", config={"threads": 2})
        self._count = 0

    def extract(self, sql: str, bad_rows: str | None = None) -> Extract:
        """What a reader would leave: the rows of a DuckDB query."""
        path = self._copied(sql)
        described = self.con.execute(f"DESCRIBE FROM read_parquet('{path}')").fetchall()
        columns = tuple(Column(row[0], row[0], _TYPES.get(row[1], ColumnType.DECIMAL)) for row in described)
        count = self.con.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchone()
        assert count
        bad_path = None if bad_rows is None else self._copied(bad_rows)
        return Extract(path, columns, count[0], int(bad_rows is not None), 0, bad_path, 1)

    def _copied(self, sql: str) -> str:
        self._count += 1
        path = str(self.folder / f"rows-{self._count}.parquet")
        self.con.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")
        return path

    def load(self, extract: Extract | str, **options: Any) -> LoadReport:
        """Load through a connection of its own. `content` stands for the file's hash."""
        given = self.extract(extract) if isinstance(extract, str) else extract
        target = open_target(self.url, self.con, str(self.folder))
        try:
            return target.load(given, order(given.path, **options), options.pop("progress", lambda _: None))
        finally:
            target.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        with closing(connect(self.address)) as db:
            cursor = db.cursor()
            cursor.execute(query if self.kind != "mysql" else query.replace('"', "`"))
            found = list(cursor.fetchall()) if cursor.description else []
            db.commit()
            return found

    run = rows

    def tables(self) -> set[str]:
        queries = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
            "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
            "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
        }
        return {row[0] for row in self.rows(queries[self.kind])}

    def state(self) -> dict[str, Any]:
        """All that is in the database, to be compared."""
        return {
            name: sorted(map(repr, self.rows(f'SELECT * FROM "{name}"'))) for name in sorted(self.tables())
        }


def order(unnamed: str, **options: Any) -> LoadOrder:
    options = {name: value for name, value in options.items() if name != "progress"}
    content = options.pop("content", unnamed)
    table = options.pop("table", "t")
    mode = Mode(options.pop("mode", "append"))
    keys = tuple(options.pop("keys", ()))
    load_id = load_id_of(
        content_sha256=content, sheet=options.get("sheet", ""), table=table, mode=mode, keys=keys
    )
    return LoadOrder(table, load_id, mode, keys, **options)


def connect(address: Address) -> Any:
    if address.kind == "sqlite":
        return sqlite3.connect(address.database)
    if address.kind == "postgresql":
        return psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            dbname=address.database,
        )
    return pymysql.connect(
        host=address.host, port=address.port, user=address.user, password=address.password,
        database=address.database, charset="utf8mb4",
    )  # fmt: skip


def texts(values: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """As text, so that databases compare that differ in the Python types of their answers."""
    return [tuple(None if value is None else str(value) for value in row) for row in values]


Make = Callable[[], Lab]
