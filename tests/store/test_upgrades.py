"""Every step between two versions of the tables, on every database."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from tests.store.recording import FOLDER, Said, record, replay
from tests.store.story import tell
from tidegate.errors import SettingError
from tidegate.ports import Store
from tidegate.store import SqlStore, migrate, open_store
from tidegate.store.schema import REVISIONS, metadata
from tidegate.testing.conformance.world import World

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.servers),
    pytest.param("mariadb", marks=pytest.mark.servers),
]
RECORDED = sorted({path.stem.partition("-")[2] for path in FOLDER.glob("*.jsonl")})


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path) -> Iterator[tuple[str, str]]:
    """A kind of database, and the URL of an empty one."""
    if request.param == "sqlite":
        yield "sqlite", f"sqlite:///{tmp_path}/tidegate.db"
    else:
        with request.getfixturevalue(request.param).database() as url:
            yield request.param, url


def layout(url: str) -> dict[str, Any]:
    """Every table as the database describes it."""
    engine = create_engine(url, poolclass=NullPool)
    looked = inspect(engine)
    found = {
        name: {
            "columns": sorted(
                (c["name"], repr(c["type"]), c["nullable"], str(c["default"]))
                for c in looked.get_columns(name)
            ),
            "key": looked.get_pk_constraint(name)["constrained_columns"],
            "indexes": sorted(
                (
                    str(index["name"]),
                    index["column_names"],
                    index["unique"],
                    {k: str(v) for k, v in index.get("dialect_options", {}).items()},
                )
                for index in looked.get_indexes(name)
            ),
            "options": looked.get_table_options(name),
        }
        for name in looked.get_table_names()
    }
    engine.dispose()
    return {name: table for name, table in found.items() if name != "alembic_version"}


def test_the_steps_lead_to_the_tables_made_at_once(database):
    _, url = database
    migrate.upgrade(url)
    migrated = layout(url)
    assert set(migrated) > {"jobs", "tasks", "attempts", "allocations", "leader"}
    migrate.downgrade(url, "base")
    assert layout(url) == {}
    open_store(url).close()
    assert layout(url) == migrated


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("revision", REVISIONS)
def test_each_version_goes_up_and_down(database, revision):
    _, url = database
    migrate.upgrade(url, revision)
    first = layout(url)
    store = open_store(url)  # goes on to the newest by itself
    world = World(store)
    key = world.run()
    world.report(key)
    store.check()
    store.close()
    newest = layout(url)
    migrate.downgrade(url, revision)
    assert layout(url) == first
    migrate.upgrade(url)
    assert layout(url) == newest
    store = open_store(url)
    assert store.job(key.job_id).status == "SUCCEEDED"
    store.check()
    store.close()


@pytest.mark.parametrize("database", DATABASES[1:], indirect=True)  # SQLite is for one server
def test_servers_that_start_at_once_make_the_tables_once(database):
    _, url = database
    together = threading.Barrier(4)
    stores: list[SqlStore] = []

    def start() -> None:
        together.wait(30)
        stores.append(open_store(url))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4
    assert World(stores[0]).submit() == 1
    for store in stores:
        assert store.job(1).id == 1
        store.close()


def test_tables_that_were_left_half_made_are_taken_up_again(database):
    """MySQL commits after each table, so that a server may die between two."""
    _, url = database
    open_store(url).close()
    whole = layout(url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in (
            "DELETE FROM alembic_version",
            "DROP TABLE workers",
            "DELETE FROM sequences WHERE name = 'event'",
        ):
            connection.execute(text(statement))
    engine.dispose()
    store = open_store(url)
    World(store).submit()
    store.check()
    store.close()
    assert layout(url) == whole


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_a_missing_driver_is_named_with_its_extra(monkeypatch, driver):
    backend, extra = {"psycopg": ("postgresql", "postgres"), "pymysql": ("mysql", "mysql")}[driver]
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(SettingError, match=rf"{driver}.*not installed.*pip install 'tidegate\[{extra}\]'"):
        open_store(f"{backend}://user:secret@127.0.0.1/db")


@pytest.mark.parametrize("revision", RECORDED)
def test_servers_of_an_earlier_version_go_on_during_an_upgrade(database, revision):
    kind, url = database
    lines = (FOLDER / f"{kind}-{revision}.jsonl").read_text(encoding="utf-8").splitlines()
    said: Said = [json.loads(line) for line in lines]
    migrate.upgrade(url)
    assert replay(url, said) == []
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM attempts")) > 5
    engine.dispose()
    store = open_store(url)
    store.check()
    store.close()


def test_a_replay_notices_what_is_answered_otherwise(tmp_path):
    said = record(f"sqlite:///{tmp_path}/a.db", tell)
    url = f"sqlite:///{tmp_path}/b.db"
    migrate.upgrade(url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE sequences SET value = 7 WHERE name = 'job'"))
    engine.dispose()
    assert replay(url, said)


def test_the_story_that_is_recorded_says_all_that_a_store_can_say(tmp_path, monkeypatch):
    """Else the next change of a table could break the version before, and no replay would tell."""
    used: set[str] = set()
    for name in SAYS:
        monkeypatch.setattr(SqlStore, name, _noted(used, name, getattr(SqlStore, name)))
    said = record(f"sqlite:///{tmp_path}/a.db", tell)
    assert sorted(SAYS - used) == []
    written = {table for table in metadata.tables if any(_writes(line[0], table) for line in said)}
    assert sorted(set(metadata.tables) - written) == []


SAYS = {name for name in dir(Store) if not name.startswith("_")} - {"close", "time"}
"""What is asked of a store's tables."""


def _noted(used: set[str], name: str, method: Any) -> Any:
    def called(self: SqlStore, *args: Any, **kwargs: Any) -> Any:
        used.add(name)
        return method(self, *args, **kwargs)

    return called


def _writes(statement: str, table: str) -> bool:
    return re.search(rf"(INTO|UPDATE) {table}\b", statement) is not None
