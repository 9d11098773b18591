"""An archive on PostgreSQL whose tables are divided by months: a month is forgotten by dropping its partition, at once and
without leaving holes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.store.values import from_micros, to_micros

TABLES = {"archived_jobs": "finished_at", "archived_allocations": "released_at"}

_DIVIDED = "SELECT 1 FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'p'"
_MONTHS = """
    SELECT c.relname, split_part(pg_get_expr(c.relpartbound, c.oid), '''', 4)::BIGINT
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s) ORDER BY 2"""


def divide(cursor: Any) -> None:
    """Turn the tables of the archive into divided ones, with what they hold. Does nothing the second time."""
    for table, column in TABLES.items():
        if _is_divided(cursor, table):
            continue
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_whole")
        cursor.execute(
            f"CREATE TABLE {table} (LIKE {table}_whole INCLUDING DEFAULTS) PARTITION BY RANGE ({column})"
        )
        cursor.execute(f"SELECT MIN({column}), MAX({column}) FROM {table}_whole")
        first, last = cursor.fetchone()
        if first is not None:
            _make(cursor, table, first, last)
        cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_whole")
        cursor.execute(
            f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{table}_whole'::regclass"
        )
        constraints = cursor.fetchall()
        cursor.execute(
            f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{table}_whole' AND schemaname = current_schema()"
        )
        keys = {name for name, _ in constraints}
        indexes = [definition for name, definition in cursor.fetchall() if name not in keys]
        cursor.execute(f"DROP TABLE {table}_whole")
        for name, definition in constraints:
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        for definition in indexes:
            cursor.execute(definition.replace(f"{table}_whole", table))


def make_room(cursor: Any, table: str, first: int, last: int) -> None:
    """Make the months of these instants, if the table is divided."""
    if _is_divided(cursor, table):
        _make(cursor, table, first, last)


def drop(cursor: Any, table: str, before: int) -> int:
    """Drop the months that ended before; how many rows they had."""
    count = 0
    if _is_divided(cursor, table):
        cursor.execute(_MONTHS, (table,))
        for name, end in cursor.fetchall():
            if end <= before:
                cursor.execute(f"SELECT COUNT(*) FROM {name}")
                count += int(cursor.fetchone()[0])
                cursor.execute(f"DROP TABLE {name}")
    return count


def months(first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The months, in UTC, that instants from first to last lie in: begin, and begin of the next."""
    begin = datetime(first.year, first.month, 1, tzinfo=UTC)
    while begin <= last:
        end = (begin + timedelta(days=32)).replace(day=1)
        yield begin, end
        begin = end


def _is_divided(cursor: Any, table: str) -> bool:
    cursor.execute(_DIVIDED, (table,))
    return cursor.fetchone() is not None


def _make(cursor: Any, table: str, first: int, last: int) -> None:
    for begin, end in months(from_micros(first), from_micros(last)):
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_{begin:%Y_%m} PARTITION OF {table} "
            f"FOR VALUES FROM ('{to_micros(begin)}') TO ('{to_micros(end)}')"
        )
