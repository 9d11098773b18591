"""PostgreSQL, by psycopg: rows by COPY, all in one transaction."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import _duckdb as duckdb
import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote_name
from tidegate.workloads.targets import stream
from tidegate.workloads.targets.address import TRUSTED, Address
from tidegate.workloads.targets.base import MARK, SqlTarget
from tidegate.workloads.targets.dialect import Dialect, Table, TableColumn
from tidegate.workloads.targets.failures import failure, refused_row
from tidegate.workloads.targets.fitting import Family, Holds, Source
from tidegate.workloads.targets.model import LOADS, LoadOrder, Mode, Progress
from tidegate.workloads.targets.names import NameRules, bytes_of, plain
from tidegate.workloads.targets.plan import Plan

_CONNECT: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "tidegate",
    "client_encoding": "utf8",
    # What a text means must not depend on the database's settings. No wait may end before the attempt's time limit does.
    "options": "-c timezone=UTC -c datestyle=ISO,YMD -c statement_timeout=0 -c lock_timeout=0 "
    "-c idle_in_transaction_session_timeout=0",
}
_TYPES = {
    "BOOLEAN": "boolean", "TINYINT": "smallint", "SMALLINT": "smallint", "INTEGER": "integer", "BIGINT": "bigint",
    "FLOAT": "real", "DOUBLE": "double precision", "DATE": "date", "TIMESTAMP": "timestamp", "TIME": "time",
}  # fmt: skip
_HOLDS = {
    "boolean": Holds(Family.BOOLEAN, "BOOLEAN"),
    "smallint": Holds(Family.NUMBER, "SMALLINT"),
    "integer": Holds(Family.NUMBER, "INTEGER"),
    "bigint": Holds(Family.NUMBER, "BIGINT"),
    "real": Holds(Family.NUMBER, "FLOAT"),
    "double precision": Holds(Family.NUMBER, "DOUBLE"),
    "numeric": Holds(Family.NUMBER),
    "date": Holds(Family.MOMENT, "DATE"),
    "text": Holds(Family.TEXT, "VARCHAR", no_nul=True),
    "character varying": Holds(Family.TEXT, "VARCHAR", no_nul=True),
}
_SIZED = re.compile(r"(numeric|character varying|character|timestamp|time)\((\d+)(?:,(-?\d+))?\)(.*)")
_MOMENTS = {"timestamp": Holds(Family.MOMENT, "TIMESTAMP"), "time": Holds(Family.TIME, "TIME")}
_LINE = re.compile(r"COPY .*, line (\d+)")
_DESCRIBE = f"""
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef OR a.attidentity <> '',
           a.attgenerated <> ''
    FROM pg_attribute a WHERE a.attrelid = {MARK} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_UNIQUE = f"""
    SELECT ARRAY(SELECT a.attname::text FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k(n)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n)
    FROM pg_index i
    WHERE i.indrelid = {MARK} AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"""
_TABLE = f"""
    SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = {MARK} AND n.nspname = {MARK}"""


def _type_for(source: Source, _key: int | None) -> str:
    """`numeric` without digits, so that the next file's numbers fit as well."""
    return (
        "numeric"
        if source.family is Family.NUMBER and source.sql not in _TYPES
        else _TYPES.get(source.sql, "text")
    )


def _holds(declared: str) -> Holds:
    """By the type's name as PostgreSQL formats it; types of which nothing is known here are the database's to judge."""
    if declared in _HOLDS:
        return _HOLDS[declared]
    sized = _SIZED.fullmatch(declared)
    if sized is None:
        return _MOMENTS.get(declared.partition(" ")[0], Holds(Family.ANY, no_nul=True))
    name, first, second = sized[1], int(sized[2]), int(sized[3] or 0)
    if name == "numeric":
        return Holds(
            Family.NUMBER, f"DECIMAL({first},{second})" if 0 <= second <= first <= 38 else None, finite=True
        )
    if name.startswith("character"):
        return Holds(Family.TEXT, "VARCHAR", most_characters=first, no_nul=True)
    known = _MOMENTS[name]
    return Holds(known.family, known.sql, second_digits=first)


def _rendered(source: Source, _family: Family, expression: str) -> str:
    raw = source.sql == "VARCHAR" and expression == quote_name(source.name)
    return stream.escaped(expression) if raw else expression


class PostgresTarget(SqlTarget):
    """PostgreSQL 13 or later."""

    dialect: ClassVar[Dialect] = Dialect(
        title="PostgreSQL",
        names=NameRules('"', 63, bytes_of, plain),
        most_columns=1600,
        type_for=_type_for,
        bad_rows_types=(
            "text",
            "text",
            "text",
            "bigint",
            "bigint",
            "text",
            "text",
            "text",
            "text",
            "boolean",
        ),
        rendered=_rendered,
    )

    def __init__(self, address: Address, con: duckdb.DuckDBPyConnection, staging: str) -> None:
        super().__init__(con, staging)
        self._db = _connect(address)
        self._schema = str(self._run("SELECT coalesce(current_schema(), 'public')")[0][0])

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _errors(self, order: LoadOrder) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise _explained(error) from None

    @contextmanager
    def _alone(self, order: LoadOrder) -> Iterator[None]:
        """Appends to one table run beside each other; all else has the table's loads to itself."""
        self._run("BEGIN ISOLATION LEVEL READ COMMITTED")  # who has waited must see what others have done
        try:
            alone = (
                order.mode is not Mode.APPEND
                or order.add_columns
                or self._describe(order, order.table) is None
            )
            lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
            self._run(f"SELECT {lock}({MARK})", (_number(self._schema_of(order), order.table),))
            self._run(f"SELECT pg_advisory_xact_lock({MARK})", (_number("load", order.load_id),))
            yield
        finally:
            if not self._db.closed and self._db.info.transaction_status is not TransactionStatus.IDLE:
                self._run("ROLLBACK")

    def _settle(self, order: LoadOrder, home: str) -> None:
        self._run("COMMIT")

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._db.cursor() as cursor:
            cursor.execute(_numbered(sql), values or None)
            return cursor.fetchall() if cursor.description else []

    def _changed(self, sql: str) -> int:
        with self._db.cursor() as cursor:
            return cursor.execute(sql.encode()).rowcount

    def _schema_of(self, order: LoadOrder) -> str:
        return order.schema or self._schema

    def _qualified(self, order: LoadOrder, name: str) -> str:
        return f"{self.dialect.names.quoted(self._schema_of(order))}.{self.dialect.names.quoted(name)}"

    def _describe(self, order: LoadOrder, name: str) -> Table | None:
        found = self._run(_TABLE, (name, self._schema_of(order)))
        if not found:
            return None
        oid, kind = found[0]
        if kind not in ("r", "p", b"r", b"p"):
            raise TaskError(f"{name!r} is no table of the database; rows go into tables.", code="not_a_table")
        columns = tuple(
            TableColumn(column, declared, _holds(declared), required, default, computed)
            for column, declared, required, default, computed in self._run(_DESCRIBE, (oid,))
        )
        return Table(columns, tuple(frozenset(row[0]) for row in self._run(_UNIQUE, (oid,))))

    def _make_loads_table(self, order: LoadOrder) -> None:
        """Those who load for the first time at once wait for each other here: IF NOT EXISTS does not see the uncommitted."""
        if self._describe(order, LOADS) is not None:
            return
        self._run(f"SELECT pg_advisory_xact_lock({MARK})", (_number(self._schema_of(order), LOADS),))
        self._run(
            f"CREATE TABLE IF NOT EXISTS {self._qualified(order, LOADS)} (load_id text PRIMARY KEY, "
            "target_table text NOT NULL, file text NOT NULL, sheet text NOT NULL, mode text NOT NULL, "
            "row_count bigint NOT NULL, bad_row_count bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now())"
        )

    def _create(self, order: LoadOrder, name: str, definitions: str) -> None:
        self._run(f"CREATE TABLE {self._qualified(order, name)} ({definitions})")

    def _empty(self, order: LoadOrder) -> None:
        """TRUNCATE is quick, but refused where another table refers to this one."""
        self._run("SAVEPOINT emptying")
        try:
            self._run(f"TRUNCATE {self._qualified(order, order.table)}")
        except (errors.FeatureNotSupported, errors.InsufficientPrivilege):
            self._run("ROLLBACK TO emptying")
            self._run(f"DELETE FROM {self._qualified(order, order.table)}")

    def _add_columns(self, order: LoadOrder, name: str, columns: Sequence[tuple[str, str]]) -> None:
        if columns:
            parts = ", ".join(
                f"ADD COLUMN {self.dialect.names.quoted(column)} {kind}" for column, kind in columns
            )
            self._run(f"ALTER TABLE {self._qualified(order, name)} {parts}")

    def _send(
        self, order: LoadOrder, table: str, columns: Sequence[str], query: str, progress: Progress
    ) -> int:
        into = table if table == _LANDING else self._qualified(order, table)
        text = f"COPY {into} ({self.dialect.names.listed(columns)}) FROM STDIN"
        sent = 0
        with self._db.cursor() as cursor:
            with cursor.copy(text.encode()) as copy, stream.blocks(self._con, query, self._staging) as blocks:
                for block in blocks:
                    copy.write(block)
                    sent += block.count(b"\n")
                    progress(sent)
            return cursor.rowcount

    def _landing(self, order: LoadOrder, home: str, plan: Plan) -> str:
        listed = self.dialect.names.listed(plan.names)
        self._run(
            f"CREATE TEMP TABLE {_LANDING} ON COMMIT DROP AS SELECT {listed} FROM {self._qualified(order, home)} LIMIT 0"
        )
        return _LANDING

    def _merge(self, order: LoadOrder, landing: str, home: str, plan: Plan) -> tuple[int, int]:
        """COPY puts rows down in the order of the file: of those with the same keys the last has the highest place."""
        names, into = self.dialect.names, self._qualified(order, home)
        keys = names.listed(plan.keys)
        self._run(f"LOCK TABLE {into} IN SHARE ROW EXCLUSIVE MODE")
        self._run(
            f"CREATE TEMP TABLE {_LAST} ON COMMIT DROP AS SELECT DISTINCT ON ({keys}) {names.listed(plan.names)} "
            f"FROM {landing} ORDER BY {keys}, ctid DESC"
        )
        self._run(f"ANALYZE {_LAST}")
        at = " AND ".join(f"home.{k} = l.{k}" for k in map(names.quoted, plan.keys))
        pairs = ", ".join(f"{c} = l.{c}" for c in map(names.quoted, plan.others or plan.keys))
        updated = self._changed(f"UPDATE {into} AS home SET {pairs} FROM {_LAST} AS l WHERE {at}")
        listed = names.listed(plan.names)
        inserted = self._changed(
            f"INSERT INTO {into} ({listed}) SELECT {listed} FROM {_LAST} AS l "
            f"WHERE NOT EXISTS (SELECT 1 FROM {into} AS home WHERE {at})"
        )
        return inserted, updated


_LANDING = "pg_temp.tidegate_landing"
_LAST = "pg_temp.tidegate_last"


def _numbered(sql: str) -> bytes:
    first, *others = sql.split(MARK)
    return "".join([first, *(f"${n}{part}" for n, part in enumerate(others, 1))]).encode()


def _number(*words: str) -> int:
    """A number for an advisory lock."""
    return int.from_bytes(
        hashlib.sha256("\0".join(("tidegate", *words)).encode()).digest()[:8], "big", signed=True
    )


def _connect(address: Address) -> psycopg.Connection[tuple[Any, ...]]:
    options = dict(_CONNECT)
    if address.tls:
        options["sslmode"] = address.tls
    if address.tls.startswith("verify"):
        options["sslrootcert"] = "system"
        # The OpenSSL of psycopg's wheel would look in a folder of its own, where there is none.
        os.environ.setdefault("SSL_CERT_DIR", TRUSTED)
    try:
        return psycopg.connect(
            host=address.host, port=address.port, user=address.user or None, password=address.password or None,
            dbname=address.database, autocommit=True, cursor_factory=psycopg.RawCursor, **options,
        )  # fmt: skip
    except psycopg.Error as error:
        raise _not_connected(str(error), address) from None


def _not_connected(told: str, address: Address) -> TaskError:
    if "authentication failed" in told or "no pg_hba.conf entry" in told or "no password supplied" in told:
        return TaskError(
            f"{address} refuses this user or password. Nothing was loaded. Correct them in the URL, or in the "
            "setting `targets`.",
            code="target_denied",
            numbers={"retry": 0},
        )
    if "does not exist" in told and "database" in told:
        return TaskError(
            f"{address}: there is no such database. Nothing was loaded.",
            code="no_such_database",
            numbers={"retry": 0},
        )
    hidden = told.replace(address.password, "…") if address.password else told
    return failure(f"Connecting to {address}", hidden, code="target_unreachable", retry=True)


def _explained(error: psycopg.Error) -> TaskError:
    told = error.diag.message_primary or str(error)
    detail = f"{told} ({error.diag.message_detail})" if error.diag.message_detail else told
    if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
        line = _LINE.search(error.diag.context or "")
        return refused_row(detail, int(line[1]) if line else None)
    if isinstance(error, errors.InsufficientPrivilege):
        return failure("Loading", detail, code="target_denied", retry=False)
    if isinstance(error, errors.DiskFull):
        return failure("Loading", detail, code="target_full", retry=False)
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure | errors.LockNotAvailable):
        return failure("Loading", detail, code="target_busy", retry=True)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return failure("The connection to the database", detail, code="target_lost", retry=True)
    return failure("Loading", detail, code="target_error", retry=False)
