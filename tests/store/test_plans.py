"""Databases must find rows by index, whatever their planners guess without statistics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tidegate.core.identity import Action, Caller, Role, entry
from tidegate.core.resources import Resources
from tidegate.ports import AuditFilter
from tidegate.store import (
    SqlStore,
    attempts,
    audit,
    jobs,
    leaders,
    open_store,
    records,
    reports,
    rescue,
    schedule,
    shared,
    sources,
    usage,
    workers,
)
from tidegate.store.dialects import open_database
from tidegate.store.dialects.network import kind_of
from tidegate.store.engine import Statement
from tidegate.store.pool import Pool
from tidegate.store.values import from_micros
from tidegate.store.versions import prepare
from tidegate.testing.conformance.world import World, new_job, new_source

TABLES = ("jobs", "tasks", "attempts", "allocations", "events", "sources")
FREQUENT = [
    (f"{module.__name__.rpartition('.')[2]}{name}", statement)
    for module in (attempts, jobs, leaders, records, reports, rescue, schedule, shared, sources, workers)
    for name, statement in sorted(vars(module).items())
    if isinstance(statement, Statement)
]


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/tidegate.db"
    db = open_database(url, Pool())
    prepare(db, url)
    yield db
    db.close()


@pytest.mark.parametrize(("name", "statement"), FREQUENT, ids=[name for name, _ in FREQUENT])
def test_no_frequent_statement_reads_a_whole_table(db, name, statement):
    def plan(tx) -> list[str]:
        tx.want([(i, 1, 1) for i in range(500)])
        text = statement.on(tx.dialect).text
        cursor = tx.connection.connection.cursor()
        return [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {text}", (1,) * text.count("?"))]

    steps = db.write(plan)
    whole = [
        step for step in steps if re.match(rf"SCAN ({'|'.join(TABLES)})\b(?!.*USING (COVERING )?INDEX)", step)
    ]
    assert whole == [], steps


def _values(statement: Statement, tx) -> tuple[Any, ...]:
    compiled = statement.on(tx.dialect)
    return tuple({int: 1, float: 1.0, str: "a"}[kind_of(type_)] for type_ in compiled.types)


def _explained(store: SqlStore, statement: Statement, explain: str) -> list[tuple[Any, ...]]:
    """The plan of the statement for one row, and for a set of rows where it has that form."""

    def look(tx) -> list[tuple[Any, ...]]:
        tx.want([(i, 1, 1) for i in range(500)])
        cursor, found = tx.cursor, []

        def instead(text: str, row: Any = ()) -> None:
            cursor.execute(f"{explain} {text}", row or None)
            found.extend(cursor.fetchall())

        tx.cursor = SimpleNamespace(
            execute=instead,
            rowcount=0,
            fetchall=cursor.fetchall,
            mogrify=getattr(cursor, "mogrify", None),
        )
        row = _values(statement, tx)
        tx._execute(statement, row)
        if not statement.on(tx.dialect).text.startswith(("SELECT", "INSERT")) and row:
            tx._many(statement, [row] * 500)
        tx.cursor = cursor
        return found

    return store._db.write(look)


LEARNT = ("never", "while all waited", "at the end")
"""When the database gathered statistics, which it does by itself at any time: no plan may depend on that."""


class Learning:
    """A database that gathers statistics when it is told to, and never by itself."""

    def __init__(self, url: str, when: str, *, stop: str, gather: str, snapshot: str) -> None:
        self._when, self._gather = when, gather
        self._engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self.store = open_store(url)
        self._reader = self._engine.connect()
        for table in TABLES:
            self._reader.exec_driver_sql(f"ALTER TABLE {table} {stop}").close()
        self._snapshot = snapshot
        self._fill()

    def close(self) -> None:
        self._reader.close()
        self.store.close()
        self._engine.dispose()

    def _gather_at(self, when: str) -> None:
        if when == self._when:
            for table in TABLES:
                self._reader.exec_driver_sql(f"{self._gather} {table}").close()
            # From now on what is no longer true stays in every index, as while the database is behind with its cleaning.
            self._reader.exec_driver_sql(self._snapshot).close()

    def _fill(self) -> None:
        """Many rows of which few are live."""
        world = World(self.store)
        self.store.set_queue("default", no_cap=True)
        for _ in range(4):
            self.store.add_jobs([new_job(world.now, resources=Resources()) for _ in range(1000)])
        later = world.now + timedelta(seconds=1)
        self.store.add_jobs(
            [new_job(world.now, not_before=later, resources=Resources()) for _ in range(1000)]
        )
        self._gather_at("while all waited")
        self.store.wake_scheduled(later, world.epoch)
        self.store.report([world.end(one.key) for one in world.claim()])
        self.store.add_jobs([new_job(world.now) for _ in range(10)])
        world.start()
        for number in range(300):
            self.store.add_source(new_source(f"s{number}", world.now))
        self._gather_at("at the end")


@pytest.fixture(scope="module", params=LEARNT)
def on_postgresql(postgresql, request):
    with postgresql.database() as url:
        learning = Learning(
            url,
            request.param,
            stop="SET (autovacuum_enabled = false)",
            gather="ANALYZE",
            snapshot="BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs",
        )
        yield learning.store
        learning.close()


@pytest.fixture(scope="module", params=LEARNT)
def on_mariadb(mariadb, request):
    with mariadb.database() as url:
        learning = Learning(
            url,
            request.param,
            stop="STATS_AUTO_RECALC = 0",
            gather="ANALYZE TABLE",
            snapshot="START TRANSACTION WITH CONSISTENT SNAPSHOT",
        )
        yield learning.store
        learning.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


FEW = {"allocations_live", "tasks_change", "tasks_scheduled", "jobs_not_succeeded", "jobs_finished"}
"""Indexes of some rows only."""


@pytest.mark.parametrize(("name", "statement"), FREQUENT, ids=[name for name, _ in FREQUENT])
def test_postgresql_reads_no_whole_table(on_postgresql, name, statement):
    plans = _explained(on_postgresql, statement, "EXPLAIN (FORMAT JSON)")
    nodes = [node for (plan,) in plans for node in _nodes(plan[0]["Plan"])]
    whole = [
        node
        for node in nodes
        if node.get("Relation Name") in TABLES
        and node["Node Type"] != "ModifyTable"
        and "Index Cond" not in node
        and node.get("Index Name") not in FEW
        and "Bitmap" not in node["Node Type"]
    ]
    assert whole == [], "\n".join(map(str, plans))


@pytest.mark.parametrize(("name", "statement"), FREQUENT, ids=[name for name, _ in FREQUENT])
def test_mariadb_reads_no_whole_table(on_mariadb, name, statement):
    steps = [step for step in _explained(on_mariadb, statement, "EXPLAIN") if step[1] != "INSERT"]
    assert [step for step in steps if step[2] in TABLES and step[3] == "ALL"] == [], steps


HOUR = 3_600_000_000


def _usage_plans(store: SqlStore, explain: str) -> list[str]:
    """How the database counts the jobs of some hours, and adds up those of one, of a million hours."""
    queries: list[Any] = []

    def note(query: Any) -> list[Any]:
        queries.append(query)
        return []

    def look(tx: Any) -> list[str]:
        real = tx.connection
        tx._connection = SimpleNamespace(execute=note)
        usage.spent_in(tx, from_micros(0))
        tx._connection = real
        literal = {"literal_binds": True}
        plans = []
        for query in (usage.present(0, HOUR), *queries):
            text = str(query.compile(dialect=tx.dialect, compile_kwargs=literal)).replace("%%", "%")
            tx.cursor.execute(f"{explain} {text}")
            plans.append(str(list(tx.cursor.fetchall())))
        return plans

    return store._db.read(look)


def test_usage_of_some_hours_is_found_without_reading_other_jobs(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/tidegate.db")
    plans = _usage_plans(store, "EXPLAIN QUERY PLAN")
    store.close()
    assert len(plans) == 4
    assert "COVERING INDEX jobs_finished (finished_at>? AND finished_at<?)" in plans[0]
    assert all("jobs_finished (finished_at>? AND finished_at<?)" in plan for plan in plans)
    assert "SEARCH attempts USING PRIMARY KEY (job_id=?)" in plans[2]
    assert "SEARCH allocations USING PRIMARY KEY (job_id=?)" in plans[3]


def test_postgresql_finds_the_usage_of_some_hours_without_reading_other_jobs(on_postgresql):
    for plan in _usage_plans(on_postgresql, "EXPLAIN (FORMAT JSON)"):
        assert "Seq Scan" not in plan, plan
        assert "jobs_finished" in plan, plan


def test_mariadb_finds_the_usage_of_some_hours_without_reading_other_jobs(on_mariadb):
    for plan in _usage_plans(on_mariadb, "EXPLAIN"):
        assert "'ALL'" not in plan, plan
        assert "'jobs_finished'" in plan, plan


def _audited(store: SqlStore, filter: AuditFilter, explain: str) -> str:
    """How the database finds these rows of a trail of which one owner wrote most."""

    def look(tx) -> str:
        literal = {"literal_binds": True}
        query = str(audit.wanted(filter).compile(dialect=tx.dialect, compile_kwargs=literal))
        tx.cursor.execute(f"{explain} {query}")
        return str(list(tx.cursor.fetchall()))

    world = World(store)
    if not store.audit(AuditFilter(limit=1)):
        for owner, count in (("eve", 10), ("ann", 4000)):
            by = Caller(owner, Role.USER, world.now)
            store.add_audit([entry(by, Action.CANCEL, f"job {i}") for i in range(count)])
    return store._db.read(look)


def test_what_one_owner_did_is_found_without_reading_the_trail(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/tidegate.db")
    plans = [_audited(store, AuditFilter(actor=actor), "EXPLAIN QUERY PLAN") for actor in ("eve", None)]
    store.close()
    assert "audit_actor (actor=?)" in plans[0]
    assert "TEMP B-TREE" not in "".join(plans)


def test_postgresql_finds_what_one_owner_did_without_reading_the_trail(on_postgresql):
    explain = "EXPLAIN (FORMAT JSON)"
    assert "'audit_actor'" in _audited(on_postgresql, AuditFilter(actor="eve"), explain)
    assert "Sort" not in _audited(on_postgresql, AuditFilter(), explain)


def test_mariadb_finds_what_one_owner_did_without_reading_the_trail(on_mariadb):
    found = _audited(on_mariadb, AuditFilter(actor="eve"), "EXPLAIN")
    assert "'audit_actor'" in found
    assert "filesort" not in found
    assert "filesort" not in _audited(on_mariadb, AuditFilter(), "EXPLAIN")
