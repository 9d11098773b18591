from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tidegate.errors import SettingError, Unavailable
from tidegate.store import migrate, open_store
from tidegate.store.schema import REVISIONS, metadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tidegate.db"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


def layout(path) -> dict[str, str]:
    """Every table and index as the database itself describes it, without the spaces."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: "".join(sql.split()) for name, sql in rows if name != "alembic_version"}


def test_the_known_revisions_are_those_of_the_scripts():
    assert migrate.revisions() == REVISIONS


def test_migrating_from_empty_equals_the_tables_made_at_once(tmp_path):
    migrated, made = tmp_path / "migrated.db", tmp_path / "made.db"
    migrate.upgrade(f"sqlite:///{migrated}")
    open_store(f"sqlite:///{made}").close()
    assert layout(migrated) == layout(made)


def test_migrating_from_empty_leaves_nothing_to_migrate(path, url):
    migrate.upgrade(url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _belongs_on_sqlite})
        assert compare_metadata(context, metadata) == []
    store = open_store(url)
    assert store.changes(0).cursor == 0
    store.close()


def test_the_first_tables_can_be_removed_and_made_again(path, url):
    migrate.upgrade(url)
    migrate.downgrade(url, "base")
    assert layout(path) == {}
    migrate.upgrade(url)
    assert "jobs" in layout(path)


def _belongs_on_sqlite(made, _name, kind, _reflected, _other) -> bool:
    return not (kind == "index" and made.name == "allocations_live_covering")


def test_a_database_of_a_newer_version_is_refused(path, url):
    open_store(url).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(Unavailable, match=r"9999.*newer Tidegate"):
        open_store(url)


def test_a_database_of_another_program_is_refused(path, url):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER)")
    connection.close()
    with pytest.raises(Unavailable, match="not made by it"):
        open_store(url)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "postgresql://host", "oracle://host/db", "nonsense"]
)
def test_a_database_that_cannot_be_used_is_refused(url):
    with pytest.raises(SettingError, match="sqlite:////data"):
        open_store(url)


def test_the_database_is_private_to_its_owner(path, url):
    store = open_store(url)
    assert [p.stat().st_mode & 0o077 for p in path.parent.iterdir()] == [0] * len(list(path.parent.iterdir()))
    store.close()


def test_a_start_imports_no_alembic(tmp_path):
    script = (
        "import sys; from tidegate.store import open_store\n"
        f"for _ in range(2): open_store('sqlite:///{tmp_path}/a.db').close()\n"
        "sys.exit(any(name.startswith('alembic') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("backend", ["postgresql", "mysql", "mariadb", "oracle"])
@pytest.mark.parametrize("database", ["", "/db"])
def test_a_refusal_does_not_show_the_password(backend, database):
    with pytest.raises((SettingError, Unavailable)) as refusal:
        open_store(f"{backend}://user:secret@127.0.0.1:1{database}")
    assert "secret" not in str(refusal.value)
