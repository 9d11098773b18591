"""A server of one machine whose records are on a database server: no lock of a folder says that it is alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import STOP_DEADLINE_S, Running, final, submit
from tidegate.testing.servers import PostgreSQL

LEASE_S = 3.0


@pytest.fixture
def running(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[Running]:
    with postgresql.database() as url:
        running = Running(tmp_path / "data", database_url=url, leader_lease_s=LEASE_S)
        running.start()
        yield running
        running.stop()


def test_one_that_was_killed_starts_again_once_its_lease_has_run_out(running: Running) -> None:
    with running.client() as http:
        job = submit(
            http, "select count(*) from range(400000) a, range(2000) b where a.range % 7 = b.range % 5"
        )
    running.kill()
    running.start()
    with running.client() as http:
        assert final(http, job)["job_status"] == "SUCCEEDED"


def test_a_second_one_on_the_same_database_is_told_so_and_the_first_goes_on(
    running: Running, tmp_path: Path
) -> None:
    second = subprocess.run(
        [
            sys.executable, "-m", "tidegate", "serve", "--port", "0", "--data-dir", str(tmp_path / "other")
        ],
        env={**os.environ, "DATABASE_URL": str(running.settings["database_url"])},
        capture_output=True, text=True, timeout=2 * STOP_DEADLINE_S, check=False,
    )  # fmt: skip
    assert second.returncode == 5
    assert "Another server works on this database" in second.stderr
    with running.client() as http:
        job = final(http, submit(http, "select 1"))
        assert job["job_status"] == "SUCCEEDED"
        (task,) = http.get(f"/api/v1/jobs/{job['job_id']}/tasks").json()["items"]
        assert len(task["attempts"]) == 1
