"""Usage of a month with a million past jobs, on each database of record: jobs looked at one by one, and added up by hours."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from benchmarks.figures import Figure, at_most, claim
from benchmarks.ledger import fill
from tidegate.core.usage import HOUR, UsageBy, UsageRecord, hour_of, total
from tidegate.ports import UsageFilter
from tidegate.store import SqlStore, open_store
from tidegate.store.dialects import plain_engine
from tidegate.testing.servers import MariaDB, PostgreSQL

TITLE = "Usage of a month with a million past jobs"
ABOUT = (
    "One database of each kind with 1,000,000 jobs of 50 owners that ended in 720 hours and waited for up to a minute; each"
    " has its attempt and its allocation. Usage of all 720 hours by user is asked for before the leader has added up any"
    " hour, so that each job is looked at, then after it has added up all. *Again* is what the leader does every two"
    " minutes when no hour has changed."
)
TIME_LIMIT_S = 3600.0

MANY = 1_000_000
_HOURS = 720
_OWNERS = 50
_ROUNDS = 5


def run(quick: bool) -> list[Figure]:
    many = 32_000 if quick else MANY
    figures: list[Figure] = []
    wrong: list[str] = []
    for kind, url in _databases():
        with contextlib.closing(open_store(url)) as store:
            found, differs = _measure(kind, store, url, many)
            figures += found
            wrong += differs
    return [*figures, claim("the sums are those of the jobs", wrong)]


def _measure(kind: str, store: SqlStore, url: str, many: int) -> tuple[list[Figure], Iterator[str]]:
    world = fill(store, url, many)
    since = hour_of(world.now) + HOUR
    _spread(url, since.timestamp(), many)
    month = UsageFilter(UsageBy.USER, since, since + _HOURS * HOUR)
    one_by_one, looked_s = _timed(store, month)
    began = time.perf_counter()
    hours = store.count_usage(month.until, most=_HOURS)
    added_s = time.perf_counter() - began
    took: list[float] = []
    for _ in range(_ROUNDS):
        added_up, took_s = _timed(store, month)
        took.append(took_s)
    _, day_s = _timed(store, replace(month, since=month.until - timedelta(days=1)))
    began = time.perf_counter()
    store.count_usage(month.until)
    again_s = time.perf_counter() - began
    return [
        Figure(f"{kind}: a month by user, added up", min(took), "s", at_most(1.0), f"looked at one by one: {looked_s:.1f} s"),
        Figure(f"{kind}: a day by user, added up", day_s * 1e3, "ms", at_most(200.0)),
        Figure(f"{kind}: to add up an hour", added_s / hours * 1e3, "ms", None, f"{hours} hours; again {again_s:.2f} s"),
    ], _differences(kind, one_by_one, added_up, many)  # fmt: skip


def _timed(store: SqlStore, filter: UsageFilter) -> tuple[list[UsageRecord], float]:
    began = time.perf_counter()
    found = store.usage(filter)
    return found, time.perf_counter() - began


def _spread(url: str, since_s: float, many: int) -> None:
    """Let the jobs end one after another over the hours, each with a wait of its own."""
    step_us = _HOURS * 3_600_000_000 // (many + 1)
    engine = plain_engine(url)
    whose = (
        f"'user' || (id % {_OWNERS})"
        if engine.dialect.name == "sqlite"
        else f"CONCAT('user', id % {_OWNERS})"
    )
    with engine.begin() as connection:
        connection.execute(
            text(
                f"UPDATE jobs SET finished_at = :since + id * {step_us}, started_at = :since + id * {step_us} - 2000000, "
                f"created_at = :since + id * {step_us} - 2000000 - (id * 7919 % 60) * 1000000, owner = {whose} "
                "WHERE finished_at IS NOT NULL"
            ).bindparams(since=int(since_s * 1e6))
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE jobs")  # now, not while it is measured
    engine.dispose()


def _differences(
    kind: str, looked_at: list[UsageRecord], added_up: list[UsageRecord], many: int
) -> Iterator[str]:
    if len(added_up) != _OWNERS or total("", added_up).tally.jobs != many:
        yield f"{kind}: {len(added_up)} owners, {total('', added_up).tally.jobs} jobs of {many}"
    for one, other in zip(looked_at, added_up, strict=True):
        if one.waits != other.waits or one.tally[:5] != other.tally[:5]:
            yield f"{kind}: {one} is not {other}"


def _databases() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        yield "SQLite", f"sqlite:///{Path(folder) / 'usage.db'}"
    for server in (PostgreSQL(durable=True), MariaDB(durable=True)):
        with server:
            yield type(server).__name__, server.create_database()
