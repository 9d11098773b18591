"""A program that loads and kills itself at the n-th statement: told by a line of JSON each, it forks for each load."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import _duckdb as duckdb
import psycopg
import pymysql

from tests.workloads.targets.support import order
from tidegate.workloads.tables.model import Column, ColumnType, Extract
from tidegate.workloads.targets import mysql, postgresql, sqlite
from tidegate.workloads.targets.opening import open_target

LOADED = (psycopg, pymysql, mysql, postgresql, sqlite)
"""Imported before the forks."""


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _load(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _load(url: str, path: str, row_count: int, kill_at: int, options: dict[str, Any]) -> None:
    columns = (Column("id", "id", ColumnType.INTEGER), Column("name", "name", ColumnType.TEXT))
    target: Any = open_target(url, duckdb.connect(":memory:"), os.path.dirname(path))
    run, count = target._run, 0

    def reached(*_: object) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(*given: Any) -> Any:
        reached()
        return run(*given)

    target._run = counted
    target.load(Extract(path, columns, row_count, 0, 0, None, 1), order(path, **options), reached)
    reached()
    target.close()


if __name__ == "__main__":
    main()
