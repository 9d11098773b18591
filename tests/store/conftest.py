"""Databases of this room's tests: the servers are shared, each test finds its database empty."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, delete, inspect, update
from sqlalchemy.pool import NullPool

from tidegate.store.schema import leader, metadata, sequences
from tidegate.testing.servers import MariaDB, PostgreSQL, SqlServer


@contextmanager
def _emptied(server: SqlServer) -> Iterator[Callable[[], str]]:
    """Calls back with the URL of a database that has this version's tables, and nothing in them."""
    with server.database() as url:
        engine = create_engine(url, poolclass=NullPool)

        def empty() -> str:
            with engine.begin() as connection:
                if inspect(connection).has_table(sequences.name):
                    for table in set(metadata.sorted_tables) - {sequences, leader}:
                        connection.execute(delete(table))
                    connection.execute(update(sequences).values(value=0))
                    connection.execute(update(leader).values(epoch=0, holder=None, lease_until=0))
            return url

        yield empty
        engine.dispose()


@pytest.fixture(scope="module")
def empty_postgresql(postgresql: PostgreSQL) -> Iterator[Callable[[], str]]:
    with _emptied(postgresql) as empty:
        yield empty


@pytest.fixture(scope="module")
def empty_mariadb(mariadb: MariaDB) -> Iterator[Callable[[], str]]:
    with _emptied(mariadb) as empty:
        yield empty
