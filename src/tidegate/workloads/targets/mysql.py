"""MySQL and MariaDB: rows by LOAD DATA LOCAL where the server allows it, else by INSERTs of many rows.

Whatever defines a table commits. So a table that is new or shall be replaced is loaded beside its place, under a name that
holds the load's id, and then swapped in by RENAME, which is atomic. Its row in the list of loads is committed
before, with that name, and counts once no table has the name any more. What a dead load leaves is recognised by the same rule
(`mysql_swap`).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar

import _duckdb as duckdb
import pymysql

from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote_name
from tidegate.workloads.targets import mysql_link, stream
from tidegate.workloads.targets.address import Address
from tidegate.workloads.targets.base import MARK, SqlTarget
from tidegate.workloads.targets.dialect import Dialect, Table, TableColumn
from tidegate.workloads.targets.failures import failure, refused_row
from tidegate.workloads.targets.fitting import Family, Holds, Source
from tidegate.workloads.targets.model import BAD_ROWS_SUFFIX, LOADS, LoadOrder, Mode, Progress
from tidegate.workloads.targets.mysql_swap import Swap
from tidegate.workloads.targets.names import NameRules, plain_bmp
from tidegate.workloads.targets.plan import Plan

_SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
    "innodb_lock_wait_timeout = 86400, net_read_timeout = 3600, net_write_timeout = 3600, wait_timeout = 86400"
)
_WAIT_S = 86_400
"""For another load of the same table: how long is for the attempt's time limit to say."""
_KEY_CHARACTERS = 768
"""Most that InnoDB indexes of a text of up to 4 bytes a character; 255 at least, so that the next file's keys fit as well."""
_TYPES = {
    "BOOLEAN": "TINYINT(1)", "TINYINT": "TINYINT", "SMALLINT": "SMALLINT", "INTEGER": "INT", "BIGINT": "BIGINT",
    "FLOAT": "FLOAT", "DOUBLE": "DOUBLE", "DATE": "DATE", "TIMESTAMP": "DATETIME(6)", "TIME": "TIME(6)",
}  # fmt: skip
_NUMBERS = {
    "tinyint": "TINYINT", "smallint": "SMALLINT", "int": "INTEGER", "bigint": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE", "tinyint unsigned": "UTINYINT", "smallint unsigned": "USMALLINT", "int unsigned": "UINTEGER",
    "bigint unsigned": "UBIGINT",
}  # fmt: skip
_TEXT = "TEXT CHARACTER SET utf8mb4"
_BAD_ROWS = ("VARCHAR(64)", _TEXT, _TEXT, "BIGINT", "BIGINT", _TEXT, _TEXT, _TEXT, _TEXT, "TINYINT(1)")
_DESCRIBE = f"""
    SELECT column_name, column_type, data_type, is_nullable, column_default, extra, character_maximum_length,
           character_octet_length, numeric_precision, numeric_scale, datetime_precision
    FROM information_schema.columns WHERE table_schema = database() AND table_name = {MARK} ORDER BY ordinal_position"""
_UNIQUE = f"""
    SELECT index_name, column_name, sub_part FROM information_schema.statistics
    WHERE table_schema = database() AND table_name = {MARK} AND non_unique = 0"""


def _type_for(source: Source, key_characters: int | None) -> str:
    """Texts are LONGTEXT, so that the next file's fit as well; it takes two bytes more than TEXT. Only keys have a length."""
    if source.sql.startswith("DECIMAL("):
        digits, _, scale = source.sql[8:-1].partition(",")
        return f"DECIMAL({digits},{scale})" if int(scale) <= 30 else f"VARCHAR({int(digits) + 3})"
    if source.family is not Family.TEXT:
        return _TYPES.get(source.sql, "DECIMAL(39,0)" if source.family is Family.NUMBER else "LONGTEXT")
    return "LONGTEXT" if key_characters is None else f"VARCHAR({key_characters})"


def _holds(declared: str, kind: str, row: Sequence[Any]) -> Holds:
    characters, octets, precision, scale, digits = row
    number = re.sub(r"\(\d+\)| zerofill", "", declared)
    if number in _NUMBERS:
        return Holds(Family.NUMBER, _NUMBERS[number], finite=True)
    if kind == "decimal":
        fits = precision <= 38 and "unsigned" not in declared
        return Holds(Family.NUMBER, f"DECIMAL({precision},{scale})" if fits else None, finite=True)
    if kind in ("char", "varchar"):
        return Holds(Family.TEXT, "VARCHAR", most_characters=characters)
    if kind in ("tinytext", "text", "mediumtext", "longtext"):
        return Holds(Family.TEXT, "VARCHAR", most_bytes=octets)
    if kind in ("datetime", "timestamp"):
        return Holds(Family.MOMENT, "TIMESTAMP", second_digits=digits or 0)
    if kind == "time":
        return Holds(Family.TIME, "TIME", second_digits=digits or 0)
    return Holds(Family.MOMENT, "DATE") if kind == "date" else Holds(Family.ANY, finite=True)


def _rendered(source: Source, family: Family, expression: str) -> str:
    raw = expression == quote_name(source.name)
    if source.sql == "BOOLEAN" and raw and family is not Family.TEXT:
        return f"CAST({expression} AS TINYINT)"
    return stream.escaped(expression) if source.sql == "VARCHAR" and raw else expression


class MysqlTarget(SqlTarget):
    """MariaDB 10.6, MySQL 8.0 or later, tables of InnoDB."""

    dialect: ClassVar[Dialect] = Dialect(
        title="MySQL",
        names=NameRules("`", 64, len, plain_bmp),
        most_columns=1017,
        type_for=_type_for,
        bad_rows_types=_BAD_ROWS,
        rendered=_rendered,
    )

    def __init__(self, address: Address, con: duckdb.DuckDBPyConnection, staging: str) -> None:
        super().__init__(con, staging)
        self._db = mysql_link.connect(address)
        self._run(_SESSION)
        # Two texts that differ in case or in blanks at the end are two: keys must tell apart what the file tells apart.
        mariadb = "mariadb" in str(self._run("SELECT version()")[0][0]).lower()
        self._collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
        self._local = bool(self._run("SELECT @@local_infile")[0][0])
        self._swap: Swap | None = None
        self._database = address.database
        self._sent = 0

    def close(self) -> None:
        if self._db.open:
            self._db.close()

    @contextmanager
    def _errors(self, order: LoadOrder) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            raise mysql_link.explained(error) from None

    @contextmanager
    def _alone(self, order: LoadOrder) -> Iterator[None]:
        """One load of a table at a time: only so is it known that tables beside it are those of the dead."""
        self._make_loads_table(order)
        lock = Swap.lock_name(self._database, order)
        if self._run(f"SELECT GET_LOCK({MARK}, {MARK})", (lock, _WAIT_S)) != [(1,)]:
            raise failure("Waiting for another load of the table", "no lock", code="target_busy", retry=True)
        self._swap = swap = Swap(order, self._run, self._qualified_name, self._bad_rows_name(order))
        try:
            swap.recover()
            yield
        finally:
            self._swap = None
            if self._db.open:
                self._run("ROLLBACK")
                swap.recover()
                self._run(f"SELECT RELEASE_LOCK({MARK})", (lock,))

    def _begin(self) -> None:
        self._run("START TRANSACTION")

    def _settle(self, order: LoadOrder, home: str) -> None:
        assert self._swap is not None
        if home != order.table:
            self._swap.note()
        self._run("COMMIT")
        if home != order.table:
            self._swap.carry_out()

    def _home(
        self, order: LoadOrder, table: Table | None, sources: Sequence[Source]
    ) -> tuple[str, tuple[str, ...]]:
        assert self._swap is not None
        if table is None:
            self._create(order, self._swap.side, self._definitions(order, sources))
            return self._swap.side, ()
        self._refuse_without_transactions(order)
        added = self._added(order, table, sources)
        home = order.table
        if order.mode is Mode.REPLACE and self._swap.possible():
            home = self._swap.side
            self._run(
                f"CREATE TABLE {self._qualified(order, home)} LIKE {self._qualified(order, order.table)}"
            )
        self._add_columns(order, home, added)
        return home, tuple(name for name, _ in added)

    def _forget(self, order: LoadOrder, bad_table: str | None, *, emptied: bool) -> None:
        """What is swapped in later makes others' rows go later as well."""
        assert self._swap is not None
        swapped = self._swap.made()
        if emptied and not swapped:
            self._empty(order)
        super()._forget(order, bad_table, emptied=emptied and not swapped)

    def _empty(self, order: LoadOrder) -> None:
        self._run(f"DELETE FROM {self._qualified(order, order.table)}")

    def _refuse_without_transactions(self, order: LoadOrder) -> None:
        sql = f"SELECT engine FROM information_schema.tables WHERE table_schema = database() AND table_name = {MARK}"
        engine = self._run(sql, (order.table,))[0][0]
        if str(engine).lower() != "innodb":
            raise TaskError(
                f"The table {order.table!r} is of the engine {engine}, which has no transactions: a load could stop half way. "
                "Convert it to InnoDB.",
                code="no_transactions",
            )

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        first, *others = sql.split(MARK)
        text = "".join([first, *(self._db.escape(v) + part for v, part in zip(values, others, strict=True))])
        with self._db.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def _qualified(self, order: LoadOrder, name: str) -> str:
        return self._qualified_name(name)

    def _qualified_name(self, name: str) -> str:
        return self.dialect.names.quoted(name)

    def _bad_rows_name(self, order: LoadOrder) -> str:
        return self.dialect.names.fitted(order.table, BAD_ROWS_SUFFIX)

    def _describe(self, order: LoadOrder, name: str) -> Table | None:
        sql = f"SELECT table_type FROM information_schema.tables WHERE table_schema = database() AND table_name = {MARK}"
        found = self._run(sql, (name,))
        if not found:
            return None
        if found[0][0] != "BASE TABLE":
            raise TaskError(f"{name!r} is no table of the database; rows go into tables.", code="not_a_table")
        columns = tuple(
            TableColumn(
                column, declared, _holds(declared.lower(), kind.lower(), rest),
                required=nullable == "NO",
                has_default=default is not None or "auto_increment" in extra.lower(),
                computed="GENERATED" in extra.upper() and "DEFAULT_GENERATED" not in extra.upper(),
            )
            for column, declared, kind, nullable, default, extra, *rest in self._run(_DESCRIBE, (name,))
        )  # fmt: skip
        return Table(columns, tuple(self._unique(name)))

    def _unique(self, name: str) -> Iterator[frozenset[str]]:
        indexes: dict[str, list[tuple[str | None, int | None]]] = {}
        for index, column, part in self._run(_UNIQUE, (name,)):
            indexes.setdefault(index, []).append((column, part))
        for columns in indexes.values():
            if all(column is not None and part is None for column, part in columns):
                yield frozenset(str(column) for column, _ in columns)

    def _make_loads_table(self, order: LoadOrder) -> None:
        self._run("SET SESSION sql_notes = 0")  # a note that it exists already is none
        self._run(
            f"CREATE TABLE IF NOT EXISTS {LOADS} (load_id CHAR(64) PRIMARY KEY, "
            "target_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, "
            f"file {_TEXT} NOT NULL, sheet {_TEXT} NOT NULL, mode VARCHAR(10) NOT NULL, row_count BIGINT NOT NULL, "
            "bad_row_count BIGINT NOT NULL, loaded_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
            "side VARCHAR(64)) ENGINE = InnoDB"
        )
        self._run("SET SESSION sql_notes = 1")

    def _create(self, order: LoadOrder, name: str, definitions: str) -> None:
        texts = f"CHARACTER SET utf8mb4 COLLATE {self._collation}"
        self._run(f"CREATE TABLE {self._qualified_name(name)} ({definitions}) ENGINE = InnoDB {texts}")

    def _add_columns(self, order: LoadOrder, name: str, columns: Sequence[tuple[str, str]]) -> None:
        if columns:
            parts = ", ".join(f"ADD COLUMN {self._qualified_name(column)} {kind}" for column, kind in columns)
            self._run(f"ALTER TABLE {self._qualified_name(name)} {parts}")

    def _key_length(self, source: Source) -> int:
        if source.family is not Family.TEXT:
            return 0
        longest = next(stream.rows(self._con, self._longest_of(source)))[0] or 0
        return min(max(int(longest), 255), _KEY_CHARACTERS)

    def _longest_of(self, source: Source) -> str:
        return f"SELECT max(length({quote_name(source.name)})) FROM {self._rows_from}"

    def _send(
        self, order: LoadOrder, table: str, columns: Sequence[str], query: str, progress: Progress
    ) -> int:
        return self._send_to(
            table, columns, query, progress, self._load_data if self._local else self._insert
        )

    def _send_to(
        self, table: str, columns: Sequence[str], query: str, progress: Progress, way: Any, replace: str = ""
    ) -> int:
        into = f"INTO TABLE {self._qualified_name(table)}"
        # Closed at once, also when the server has gone: DuckDB would go on writing into a session that is to be closed.
        with closing(self._counted(query, progress)) as blocks:
            return int(way(into, self.dialect.names.listed(columns), blocks, replace))

    def _counted(self, query: str, progress: Progress) -> Generator[bytes, None, None]:
        self._sent = 0
        with stream.blocks(self._con, query, self._staging) as blocks:
            for block in blocks:
                self._sent += block.count(b"\n")
                yield block
                progress(self._sent)

    def _load_data(self, into: str, listed: str, blocks: Iterator[bytes], replace: str) -> int:
        """LOCAL makes warnings of what would be errors, and drops the row: so any warning fails the load."""
        sql = (
            f"LOAD DATA LOCAL INFILE 'rows' {replace} {into} CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' "
            f"ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({listed})"
        )
        affected, warnings = self._db.send_rows(sql, blocks)
        if warnings or (not replace and affected != self._sent):
            told = (
                "; ".join(str(row[2]) for row in self._run("SHOW WARNINGS LIMIT 3"))
                or f"{affected} of {self._sent} rows"
            )
            raise refused_row(told, self._refused_at(told))
        return self._sent

    def _refused_at(self, told: str) -> int | None:
        """The number of the first row that was refused. Of a duplicate key the text does not tell it; MariaDB knows it
        since 10.7 (its documentation of GET DIAGNOSTICS), MySQL does not."""
        line = re.search(r"at row (\d+)", told)
        if line:
            return int(line[1])
        try:
            self._run("GET DIAGNOSTICS CONDITION 1 @tidegate_row = ROW_NUMBER")
        except pymysql.Error:
            return None
        ((row,),) = self._run("SELECT @tidegate_row")
        return int(row) or None

    def _insert(self, into: str, listed: str, blocks: Iterator[bytes], replace: str) -> int:
        """The escapes of the text are those of a literal, too."""
        verb = "REPLACE" if replace else "INSERT"
        head = f"{verb} {into.replace('TABLE ', '', 1)} ({listed}) VALUES ".encode()
        for values in mysql_link.batches(blocks):
            self._db.query(head + b",".join(values))
        return self._sent

    def _landing(self, order: LoadOrder, home: str, plan: Plan) -> str:
        """The columns are those of `home`, with the same collations; of rows with the same keys the last stays."""
        source, listed = self._qualified_name(home), self.dialect.names.listed(plan.names)
        self._run(
            f"CREATE TEMPORARY TABLE {_LANDING} (UNIQUE ({self.dialect.names.listed(plan.keys)})) ENGINE = InnoDB "
            f"AS SELECT {listed} FROM {source} LIMIT 0"
        )
        return _LANDING

    def _write(
        self, order: LoadOrder, home: str, plan: Plan, query: str, progress: Progress
    ) -> tuple[int, int]:
        if order.mode is not Mode.UPSERT:
            return self._send(order, home, plan.names, query, progress), 0
        landing = self._landing(order, home, plan)
        way = self._load_data if self._local else self._insert
        self._send_to(landing, plan.names, query, progress, way, "REPLACE")
        return self._merge(order, landing, home, plan)

    def _merge(self, order: LoadOrder, landing: str, home: str, plan: Plan) -> tuple[int, int]:
        names, into = self.dialect.names, self._qualified_name(home)
        at = " AND ".join(f"home.{k} = l.{k}" for k in map(names.quoted, plan.keys))
        pairs = ", ".join(f"home.{c} = l.{c}" for c in map(names.quoted, plan.others))
        # Rows that are the same already are not counted by the server.
        updated = int(self._run(f"SELECT count(*) FROM {landing} AS l JOIN {into} AS home ON {at}")[0][0])
        if pairs:
            self._run(f"UPDATE {into} AS home JOIN {landing} AS l ON {at} SET {pairs}")
        listed, theirs = (
            names.listed(plan.names),
            ", ".join(f"l.{name}" for name in map(names.quoted, plan.names)),
        )
        first = f"home.{names.quoted(plan.keys[0])}"
        with self._db.cursor() as cursor:
            inserted = cursor.execute(
                f"INSERT INTO {into} ({listed}) SELECT {theirs} FROM {landing} AS l LEFT JOIN {into} AS home ON {at} "
                f"WHERE {first} IS NULL"
            )
        self._run(f"DROP TEMPORARY TABLE {landing}")
        return inserted, updated


_LANDING = "tidegate_landing"
