"""Keys from the first one on, as people use them: real commands, a real server, real queries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tests.e2e.server import Running
from tests.environment import others_environment

SETTINGS = {"allowed_hosts": '["localhost"]', "log_level": "debug", "grace_s": 0.5}


def tide(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = others_environment()
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def make_key(data_dir: Path, owner: str, role: str) -> str:
    """Through the database itself, as before the server's first start."""
    return tide("key", "create", "--owner", owner, "--role", role, "--data-dir", str(data_dir)).stdout.strip()


class Town:
    """A server with keys."""

    def __init__(self, running: Running, keys: dict[str, str], log: Path) -> None:
        self.running, self.keys, self.log = running, keys, log

    def as_(self, who: str) -> tidegate.Client:
        return tidegate.connect(self.running.url, api_key=self.keys[who])

    def run(self, who: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        where = {"TIDEGATE_URL": self.running.url, "TIDEGATE_API_KEY": self.keys[who]}
        return tide(*arguments, code=code, **where)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    keys = {
        who: make_key(folder / "data", who.partition(" ")[0], who.partition(" ")[2] or "user")
        for who in ("ann", "bob", "root admin", "ann viewer")
    }
    running = Running(folder / "data", log_file=folder / "log", **SETTINGS)
    running.start()
    yield Town(running, keys, folder / "log")
    running.stop()


def test_a_server_for_others_starts_only_with_a_key(tmp_path: Path):
    refused = tide(
        "serve", "--port", "0", "--data-dir", str(tmp_path), code=2, TIDEGATE_ALLOWED_HOSTS='["jobs.example"]'
    )
    assert "tidegate key create" in refused.stderr
    assert "anyone-may-do-everything" in refused.stderr
    assert refused.stdout == ""


def test_a_key_is_printed_alone_so_that_it_can_be_put_into_a_variable(tmp_path: Path):
    key = make_key(tmp_path, "ann", "admin")
    assert key.startswith("tg_")
    assert len(key) == 57
    listed = tide("key", "list", "--data-dir", str(tmp_path), "--json").stdout
    assert key not in listed
    (shown,) = json.loads(listed)
    assert (shown["owner"], shown["role"], shown["state"]) == ("ann", "admin", "valid")
    tide("key", "revoke", shown["key_id"], "--data-dir", str(tmp_path))
    assert "revoked" in tide("key", "list", "--data-dir", str(tmp_path)).stdout
    tide("key", "revoke", "0000000000", "--data-dir", str(tmp_path), code=3)
    tide("key", "create", "--owner", "No Such", "--data-dir", str(tmp_path), code=4)


def test_the_command_line_shows_its_key_by_variable_or_file(town: Town, tmp_path: Path):
    assert "42" in town.run("ann", "sql", "select 42 as answer").stdout
    file = tmp_path / "key"
    file.write_text(f"{town.keys['ann']}\n")
    tide("jobs", TIDEGATE_URL=town.running.url, TIDEGATE_API_KEY_FILE=str(file))
    stranger = tide("jobs", TIDEGATE_URL=town.running.url, code=4)
    assert "TIDEGATE_API_KEY" in stranger.stderr
    missing = tide("jobs", TIDEGATE_URL=town.running.url, TIDEGATE_API_KEY_FILE=str(tmp_path / "no"), code=4)
    assert "TIDEGATE_API_KEY_FILE" in missing.stderr


def test_queries_read_what_is_ones_own_and_what_is_shared(town: Town, tmp_path: Path):
    table = tmp_path / "pay.csv"
    table.write_text("who,pay\nann,1\n")
    with town.as_("ann") as ann, town.as_("bob") as bob:
        ann.sources.upload(table, "pay")
        ann.sources.upload(table, "common", overwrite=True, shared=True)
        made = ann.sql("select * from pay", result_name="paid").wait().result()
        assert ann.query("select sum(pay) as s from pay").dicts() == [{"s": 1}]
        assert bob.query("select who from common").dicts() == [{"who": "ann"}]
        assert [source.name for source in bob.sources.list()] == ["common"]
        for sql in (
            "select * from pay",
            "select * from paid",
            f"select * from '{made.path}'",
            f"select * from read_parquet('{made.path}')",
            f"select * from glob('{made.path.parent if made.path else ''}/*')",
        ):
            failed = bob.sql(sql).wait(raise_on_failure=False)
            listed = failed.status == "SUCCEEDED" and failed.result().rows()
            assert not listed, (sql, listed)
        with pytest.raises(tidegate.InvalidInput):
            bob.sources.add("stolen", str(made.path))
        with pytest.raises(tidegate.NotFound):
            bob.job(made.job_id)
        bob.sources.upload(table, "pay")  # the name is free for him
        assert bob.sql("select 1 as a", result_name="paid").wait().status == "SUCCEEDED"


def test_roles_over_the_client(town: Town):
    with town.as_("ann viewer") as viewer, pytest.raises(tidegate.AccessDenied, match="viewer"):
        viewer.sql("select 1")
    with tidegate.connect(town.running.url, api_key="tg_wrong") as stranger:
        with pytest.raises(tidegate.AccessDenied) as refused:
            list(stranger.jobs())
        assert refused.value.code == "unauthenticated"
    with town.as_("bob") as bob, pytest.raises(tidegate.AccessDenied):
        bob.queues.pause("default")


def test_an_admin_makes_and_revokes_keys_over_http(town: Town):
    made = town.run("root admin", "key", "create", "--owner", "eve", "--expires", "1", "--name", "ci")
    key = made.stdout.strip()
    assert key not in made.stderr
    with tidegate.connect(town.running.url, api_key=key) as eve:
        assert list(eve.jobs()) == []
    town.run("root admin", "key", "revoke", key.split("_")[1])
    with tidegate.connect(town.running.url, api_key=key) as eve, pytest.raises(tidegate.AccessDenied):
        list(eve.jobs())
    town.run("ann", "key", "list", code=4)


def test_a_key_made_in_the_database_counts_on_the_running_server(town: Town):
    key = make_key(town.running.data_dir, "zoe", "user")
    with tidegate.connect(town.running.url, api_key=key) as zoe:
        assert zoe.query("select 7 as n").dicts() == [{"n": 7}]


def test_the_trail_is_shown_to_operators(town: Town):
    town.run("root admin", "queues", "set", "default", "--weight", "3")
    rows: list[dict[str, Any]] = json.loads(
        town.run("root admin", "audit", "--action", "queue.change", "--json").stdout
    )
    assert [(row["actor"], row["object"]) for row in rows] == [("root", "queue default")]
    assert "queue default" in town.run("root admin", "audit").stdout
    town.run("ann", "audit", code=4)


def test_no_key_stands_in_a_log_or_in_the_list_of_processes(town: Town):
    town.run("ann", "jobs")
    assert town.running.process is not None
    own = Path(f"/proc/{town.running.process.pid}")
    text = town.log.read_text() + (own / "cmdline").read_text() + (own / "environ").read_text()
    for key in town.keys.values():
        assert key not in text
        assert key.split("_", 2)[2] not in text


def test_jobs_do_not_see_the_servers_key(tmp_path: Path):
    settings: dict[str, Any] = {"enable_commands": 1, "grace_s": 0.5}
    running = Running(tmp_path / "data", **settings)
    os.environ["TIDEGATE_API_KEY"] = "tg_secret_of_the_server"
    try:
        running.start()
        with tidegate.connect(running.url, api_key="ignored") as client:
            job = client.submit("command", argv=["/usr/bin/env"]).wait()
            assert "tg_secret" not in job.logs()
            assert "HOME" in job.logs()
    finally:
        del os.environ["TIDEGATE_API_KEY"]
        running.stop()
