"""Opens targets. Each database's driver is loaded only when it is wanted, since it may not be installed."""

from __future__ import annotations

import importlib

import _duckdb as duckdb

from tidegate.workloads.errors import TaskError
from tidegate.workloads.targets.address import Address, Kind, parse_address
from tidegate.workloads.targets.model import Target

_PLACES: dict[Kind, tuple[str, str, str]] = {
    "sqlite": ("tidegate.workloads.targets.sqlite", "SqliteTarget", ""),
    "postgresql": ("tidegate.workloads.targets.postgresql", "PostgresTarget", "postgres"),
    "mysql": ("tidegate.workloads.targets.mysql", "MysqlTarget", "mysql"),
}


def open_target(url: str | Address, con: duckdb.DuckDBPyConnection, staging: str) -> Target:
    """Connect to a database. `con` is the attempt's DuckDB connection, `staging` a folder that it may write into.

    Raises InvalidInput for a URL that is none, and TaskError: `missing_driver`, `target_unreachable`, `target_denied`,
    `no_such_database`.
    """
    address = parse_address(url) if isinstance(url, str) else url
    place, name, extra = _PLACES[address.kind]
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise TaskError(
            f"Loading into {address.kind} needs the package {error.name!r}, which is not installed on this worker. "
            f"Install tidegate[{extra}].",
            code="missing_driver",
        ) from None
    target: Target = getattr(module, name)(address, con, staging)
    return target
