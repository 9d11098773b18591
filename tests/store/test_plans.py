"""SQLite must find rows by index, whatever its planner guesses without statistics."""

from __future__ import annotations

import re

import pytest

from tidegate.store import attempts, jobs, records, reports, schedule, sources
from tidegate.store.engine import Database, Statement
from tidegate.store.versions import prepare

TABLES = ("jobs", "tasks", "attempts", "allocations", "events", "sources")
FREQUENT = [
    (f"{module.__name__.rpartition('.')[2]}{name}", statement)
    for module in (attempts, jobs, records, reports, schedule, sources)
    for name, statement in sorted(vars(module).items())
    if isinstance(statement, Statement)
]


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/tidegate.db"
    db = Database(url)
    prepare(db, url)
    yield db
    db.close()


@pytest.mark.parametrize(("name", "statement"), FREQUENT, ids=[name for name, _ in FREQUENT])
def test_no_frequent_statement_reads_a_whole_table(db, name, statement):
    def plan(tx) -> list[str]:
        tx.want([(i, 1, 1) for i in range(500)])
        text = statement.text(tx.connection.dialect)
        cursor = tx.connection.connection.cursor()
        return [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {text}", (1,) * text.count("?"))]

    steps = db.write(plan)
    whole = [
        step for step in steps if re.match(rf"SCAN ({'|'.join(TABLES)})\b(?!.*USING (COVERING )?INDEX)", step)
    ]
    assert whole == [], steps
