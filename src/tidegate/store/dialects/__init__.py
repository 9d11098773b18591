"""One file per database, and the choice between them: nothing else in the store knows which one it has."""

from __future__ import annotations

import importlib
from types import ModuleType

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from tidegate.errors import SettingError
from tidegate.store.dialects.sqlite import SqliteDatabase
from tidegate.store.engine import Database
from tidegate.store.pool import Pool

_EXAMPLES = (
    "sqlite:////data/tidegate.db, postgresql://user:password@host/database or "
    "mysql://user:password@host/database"
)
_NETWORK = {  # backend: module, class, driver, extra
    "postgresql": ("postgresql", "PostgresDatabase", "psycopg", "postgres"),
    "mysql": ("mysql", "MysqlDatabase", "pymysql", "mysql"),
    "mariadb": ("mysql", "MysqlDatabase", "pymysql", "mysql"),
}


def parse(text: str) -> URL:
    """Raises SettingError for what is no URL of a database that can be used; it shows no password."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise SettingError(f"The database must be a URL such as {_EXAMPLES}.") from None
    backend = url.get_backend_name()
    if backend == "sqlite" and (not url.database or url.database == ":memory:"):
        raise SettingError(f"SQLite needs a file, such as sqlite:////data/tidegate.db, not {text!r}.")
    if backend != "sqlite" and backend not in _NETWORK:
        raise SettingError(
            f"There is no support for {backend!r}. The database must be a URL such as {_EXAMPLES}."
        )
    if backend in _NETWORK and not url.database:
        shown = url.render_as_string(hide_password=True)
        raise SettingError(f"{shown} names no database. The database must be a URL such as {_EXAMPLES}.")
    return url


def open_database(text: str, pool: Pool) -> Database:
    """Connect. Raises SettingError and Unavailable."""
    url = parse(text)
    if url.get_backend_name() == "sqlite":
        return SqliteDatabase(url)
    found, name = _module(url)
    database: Database = getattr(found, name)(url, pool)
    return database


def plain_engine(text: str) -> Engine:
    """An engine without a pool and without the store's own manners, for changes of the tables."""
    url = parse(text)
    if url.get_backend_name() != "sqlite":
        url = _module(url)[0].with_driver(url)
    return create_engine(url, poolclass=NullPool)


def _module(url: URL) -> tuple[ModuleType, str]:
    """The file of a database behind a network, and the name of its class. Raises SettingError without its driver."""
    module, name, driver, extra = _NETWORK[url.get_backend_name()]
    try:
        importlib.import_module(driver)
    except ImportError:
        raise SettingError(
            f"The driver {driver} of {url.get_backend_name()} databases is not installed. "
            f"Install it: pip install 'tidegate[{extra}]'"
        ) from None
    return importlib.import_module(f"tidegate.store.dialects.{module}"), name
