"""The database's own time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from tidegate.store.engine import Statement, Tx
from tidegate.store.values import from_micros


class _Now(FunctionElement[int]):
    """Microseconds since 1970 at the moment of the question, not at the beginning of the transaction."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Now, "sqlite")
def _on_sqlite(element: _Now, compiler: Any, **_: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"


@compiles(_Now, "postgresql")
def _on_postgresql(element: _Now, compiler: Any, **_: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(_Now, "mysql", "mariadb")
def _on_mysql(element: _Now, compiler: Any, **_: Any) -> str:
    return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"


_NOW = Statement(select(_Now()))


def time(tx: Tx) -> datetime:
    """See `Store.time`."""
    row = tx.one(_NOW)
    assert row is not None
    return from_micros(row[0])
