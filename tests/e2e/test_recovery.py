"""A real server whose parts, or itself, are killed; whose ledger is wrong; and a job that ends what is around it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tests.e2e.server import Running, final, submit
from tidegate.errors import Conflict, Unavailable
from tidegate.store import migrate
from tidegate.store.schema import REVISIONS

MODULES = Path(__file__).with_name("modules")
DEADLINE_S = 60.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(
        tmp_path / "data",
        max_crashes=2,
        max_losses=1,
        alert_every_s=0.1,
        function_modules=json.dumps(["tide_harm"]),
        function_path=json.dumps([str(MODULES)]),
    )
    yield running
    running.stop()


def until(ask: Callable[[], Any]) -> Any:
    """What it answers, once it is something."""
    deadline = time.monotonic() + DEADLINE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not come in time"
    return answer


def zygote_of(http: Any, other_than: int = 0) -> int:
    """Its process id, once it is another one than this."""
    worker = http.get("/api/v1/monitoring/workers/local").json()
    pid = int((worker["pool_processes"] or [0])[0])
    return 0 if pid == other_than else pid


def crashed(client: tidegate.Client, times: int) -> bool:
    return bool(client.recovery.safe_mode()["crashes"] >= times)


def raised(http: Any) -> set[str]:
    """The rules whose alerts are open."""
    found = http.get("/api/v1/alerts", params={"state": "open"}).json()["items"]
    return {alert["rule"] for alert in found}


def keeper_of(running: Running, job_id: str, attempt: int) -> int:
    """Who watches over an attempt of `wait_for_harm`, once it has said so; else 0."""
    with running.client() as http:
        answer = http.get(f"/api/v1/jobs/{job_id}/logs", params={"attempt": attempt})
    said = re.search(r"keeper=(\d+);", answer.text)
    return int(said[1]) if said else 0


def cli(running: Running, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *words, "--url", running.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again_comes_up_in_safe_mode_and_is_let_out(running: Running):
    for _ in range(3):
        running.start()
        running.kill()
    running.start()
    with running.client() as http, tidegate.connect(running.url) as client:
        state = client.recovery.safe_mode()
        assert (state["mode"], state["cause"], state["numbers"]["crashes"]) == ("safe", "crashes", 3)
        assert state["leaves_at"]
        refused = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
        assert (refused.status_code, refused.json()["code"]) == (503, "safe_mode")
        assert int(refused.headers["Retry-After"]) > 200
        assert "tidegate safe-mode leave" in refused.json()["detail"]
        assert http.get("/api/v1/jobs").status_code == 200
        assert http.get("/api/v1/health/ready").status_code == 200
        assert "is in mode safe" in cli(running, "safe-mode", "show")
        assert "is in mode normal" in cli(running, "safe-mode", "leave")
        assert final(http, submit(http, "select 1"))["job_status"] == "SUCCEEDED"
        (entry,) = http.get("/api/v1/audit?action=safe_mode").json()["items"]
        assert entry["object"] == "safe mode"


def test_what_waits_in_safe_mode_says_so_and_can_be_cancelled(running: Running):
    running.start()
    with running.client() as http, tidegate.connect(running.url) as client:
        later = submit(http, "select 1", queue="held")
        http.post("/api/v1/queues/held/pause")
        waits = submit(http, "select 2", queue="held")
        client.recovery.enter_safe_mode("we move the disks")
        http.post("/api/v1/queues/held/resume")
        final(http, later)
        why = client.job(waits).explanation
        assert (why.code, "we move the disks" in why.text) == ("safe_mode", True)
        with pytest.raises(Unavailable, match="safe mode"):
            client.sql("select 3")
        assert client.job(waits).cancel().wait(10, raise_on_failure=False).status == "CANCELLED"
        client.recovery.leave_safe_mode()
        with pytest.raises(Conflict):
            client.recovery.leave_safe_mode()


@pytest.mark.slow
def test_a_zygote_that_is_killed_comes_back_until_it_was_too_often(running: Running):
    running.start()
    with running.client() as http, tidegate.connect(running.url) as client:
        killed = 0
        for count in (1, 2, 3):
            killed = until(partial(zygote_of, http, killed))
            os.kill(killed, signal.SIGKILL)
            until(partial(crashed, client, count))
        until(lambda: client.recovery.safe_mode()["mode"] == "safe")
        assert "zygote 3" in client.recovery.safe_mode()["message"]
        until(lambda: raised(http) >= {"crash_loop", "safe_mode"})
        assert "ledger" not in raised(http)
        client.recovery.leave_safe_mode()
        assert final(http, submit(http, "select 1"))["job_status"] == "SUCCEEDED"


def test_a_ledger_that_does_not_add_up_is_found_by_the_next_start(running: Running):
    running.start()
    with running.client() as http:
        final(http, submit(http, "select 1"))
    running.stop()
    with sqlite3.connect(running.data_dir / "tidegate.db") as database:
        database.execute("UPDATE jobs SET tasks_succeeded = tasks_succeeded + 1")
    database.close()
    running.start()
    with running.client() as http, tidegate.connect(running.url) as client:
        state = client.recovery.safe_mode()
        assert (state["mode"], state["cause"]) == ("safe", "ledger")
        assert "the job's counters differ from its tasks" in state["message"]
        until(lambda: raised(http) >= {"ledger", "safe_mode"})


@pytest.mark.slow
def test_a_job_that_kills_its_keeper_runs_so_often_and_no_more_and_harms_nobody(running: Running):
    running.start()
    with tidegate.connect(running.url) as client:
        bad = client.submit("function", function="tide_harm:wait_for_harm")
        honest = [client.submit("function", function="tide_harm:work", args=[number]) for number in range(20)]
        assert {job.wait(60).status for job in honest} == {"SUCCEEDED"}
        for attempt in (1, 2):  # as a job would on a kernel whose Landlock confines no signals
            os.kill(until(partial(keeper_of, running, bad.id, attempt)), signal.SIGKILL)
        ended = bad.wait(60, raise_on_failure=False)
        assert (ended.status, ended.exit and ended.exit["code"]) == ("FAILED", "quarantined")
        for job in honest:
            (task,) = job.tasks()
            assert len(task["attempts"]) == 1  # nobody else was ended
        (held,) = client.recovery.quarantine()
        assert (held["job_id"], len(held["attempts"]), held["released_as"]) == (bad.id, 2, None)
        assert {attempt["worker"] for attempt in held["attempts"]} == {"local"}
        assert "Attempts" in cli(running, "quarantine", "list")
        assert "This was loss 2" in cli(running, "quarantine", "show", held["task_id"])
        assert "runs again as job" in cli(running, "quarantine", "release", held["task_id"])
        again = client.recovery.quarantined(held["task_id"])
        assert again["released_by"] == "local"
        client.job(again["released_as"]).cancel()
        assert client.recovery.safe_mode()["mode"] == "normal"  # a keeper is no part of the service


def test_a_server_on_the_tables_of_a_newer_version_says_so_and_starts_nothing(running: Running):
    running.start()
    with running.client() as http:
        before = submit(http, "select 1")
        final(http, before)
    running.stop()
    theirs = running.data_dir / "results" / "named-by-a-table-of-9999.parquet"
    theirs.touch()
    _set_revision(running, "9999")
    epoch = _epoch(running)
    running.start()
    assert theirs.exists()
    with running.client() as http:
        state = http.get("/api/v1/safe-mode").json()
        assert (state["mode"], state["cause"]) == ("safe", "migration")
        assert (
            "The database has revision 9999, made by a newer Tidegate; this one knows up to"
            in state["message"]
        )
        assert http.get(f"/api/v1/jobs/{before}").json()["job_status"] == "SUCCEEDED"
        refused = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
        assert (refused.status_code, refused.json()["code"]) == (503, "safe_mode")
        assert "revision 9999" in refused.json()["detail"]
        assert http.post("/api/v1/safe-mode/leave").status_code == 409
        assert "revision 9999" in cli(running, "safe-mode", "show")
    running.stop()
    assert _epoch(running) == epoch  # it has not led
    _set_revision(running, REVISIONS[-1])
    running.start()
    with running.client() as http:
        assert final(http, submit(http, "select 1"))["job_status"] == "SUCCEEDED"
    assert not theirs.exists()


def test_a_server_brings_older_tables_up_to_date_by_itself_and_says_so(running: Running):
    running.start()
    with running.client() as http:
        before = submit(http, "select 1")
        final(http, before)
    running.stop()
    migrate.downgrade(f"sqlite:///{running.data_dir}/tidegate.db", REVISIONS[-2])
    running.start(log_file=running.data_dir / "later.log")
    with running.client() as http:
        assert http.get(f"/api/v1/jobs/{before}").json()["job_status"] == "SUCCEEDED"
        assert final(http, submit(http, "select 1"))["job_status"] == "SUCCEEDED"
        assert http.get("/api/v1/safe-mode").json()["mode"] == "normal"
    told = f"The tables are brought from revision {REVISIONS[-2]} to {REVISIONS[-1]}."
    assert told in (running.data_dir / "later.log").read_text()


def _epoch(running: Running) -> int:
    with contextlib.closing(sqlite3.connect(running.data_dir / "tidegate.db")) as database:
        [(epoch,)] = database.execute("SELECT epoch FROM leader")
    return int(epoch)


def _set_revision(running: Running, revision: str) -> None:
    with sqlite3.connect(running.data_dir / "tidegate.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()
