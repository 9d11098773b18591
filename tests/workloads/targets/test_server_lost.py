"""The database server is killed in the middle of a load, and comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.workloads.targets.support import Lab
from tidegate.testing.servers import MariaDB, PostgreSQL, SqlServer
from tidegate.workloads.errors import TaskError
from tidegate.workloads.targets.model import LOADS

ROWS = 1_000_000
"""More than sockets and pipes between DuckDB and the server hold."""


@pytest.mark.servers
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_server_that_goes_away_is_told_and_the_load_can_be_repeated(
    kind: type[SqlServer], tmp_path: Path
) -> None:
    with kind() as server:
        lab = Lab(server.create_database().replace("+psycopg", "").replace("+pymysql", ""), tmp_path)
        extract = lab.extract(f"SELECT i AS id, 'name ' || i AS name FROM range({ROWS}) t(i)")

        killed: list[int] = []

        def kill(rows: int) -> None:
            if rows and not killed:
                killed.append(rows)
                server.kill()

        with pytest.raises(TaskError) as failed:
            lab.load(extract, progress=kill)
        assert failed.value.code == "target_lost"
        assert "Nothing was loaded" in failed.value.message
        assert failed.value.numbers["retry"] == 1
        assert _writers() == []  # its session can be closed, and no rows are written that nobody reads
        server.start()
        assert "t" not in lab.tables()
        assert lab.load(extract).inserted == ROWS
        assert lab.tables() == {"t", LOADS}


def _writers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "tidegate-rows"]
