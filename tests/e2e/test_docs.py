"""The examples of the pages on the API and on running a server, typed as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.loading import SCRIPT as LOAD_TEST
from tests.e2e.server import Running, final, submit
from tests.pages import console, page, shell
from tidegate.testing.servers import MariaDB, PostgreSQL
from tidegate.testing.servers.server import ADDRESS, USER


def test_the_examples_of_the_api_are_answered_as_they_say(tmp_path: Path) -> None:
    maker = Running(tmp_path / "maker")
    server = Running(tmp_path / "data")
    try:
        maker.start()
        made = shell(
            f"export TIDEGATE_URL={maker.url}; tidegate sql 'select 7 as km' --result-name trips >&2; "
            "tidegate sources download trips trips.parquet",
            tmp_path,
        )
        assert made.returncode == 0, made.stderr
        server.start()
        examples = console(page("api.md"))
        assert len(examples) >= 9
        for command, shown in examples:
            typed = command.replace("localhost:8420", server.url.removeprefix("http://")).replace(
                "curl ", "curl --fail-with-body "
            )
            done = shell(typed, tmp_path)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            assert done.stdout or "-o " in command, command
            if shown:
                assert done.stdout.startswith(shown.partition(", ...")[0]), (command, done.stdout)
        assert (tmp_path / "answers.csv").read_text() == "answer\n42\n"
        with server.client() as http:
            assert http.get("/api/v1/sources/trips").json()["row_count"] == 1
            assert http.get("/api/v1/queues/default").json()["paused"] is True
    finally:
        server.stop()
        maker.stop()


def test_the_commands_of_the_page_on_running_a_server_work(tmp_path: Path) -> None:
    commands = re.findall(r"^```sh\n(.*?)^```", page("operations.md"), re.DOTALL | re.MULTILINE)
    [serve, doctor, loads] = [
        command.strip().replace("/var/lib/tidegate", str(tmp_path / "data")) for command in commands
    ]
    checked = shell(f"{doctor} --json", tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["data_dir"]["path"] == str(tmp_path / "data")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        ["sh", "-c", f"exec {serve} --port 0"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as served:
        assert served.stdout is not None
        line = served.stdout.readline()
        address = re.match(r"Tidegate is listening on (http://127\.0\.0\.1:\d+) ", line)
        assert address, line
        loads = loads.replace("http://127.0.0.1:8420", address.group(1))
        for load in re.sub(r"--for \d+", "--for 2", loads).splitlines():
            done = shell(load.replace("scripts/load_test.py", str(LOAD_TEST)), tmp_path)
            assert done.returncode == 0, (load, done.stdout, done.stderr)
            assert "x select 1" in done.stdout
        served.terminate()
    assert served.returncode == 0


def test_what_was_backed_up_as_the_page_says_can_be_restored(own_server: Running) -> None:
    [command] = re.findall(r"`(sqlite3 [^`]+)`", page("operations.md"))
    folder = own_server.data_dir
    own_server.start()
    with own_server.client() as http:
        final(http, submit(http, "select 1 as one", result_name="kept"))
        done = shell(f"{command} && cp -r results copied", folder)
        assert done.returncode == 0, done.stderr
        later = submit(http, "select 2 as two", result_name="later")
        final(http, later)
    own_server.stop()
    shutil.rmtree(folder / "results")
    (folder / "copied").rename(folder / "results")
    unnamed = folder / "results" / "later.parquet"
    unnamed.touch()
    for old in folder.glob("tidegate.db*"):
        old.unlink()
    (folder / "copy.db").rename(folder / "tidegate.db")
    own_server.start()
    with own_server.client() as http:
        assert http.get(f"/api/v1/jobs/{later}").status_code == 404
        assert http.get("/api/v1/sources/later").status_code == 404
        assert http.post("/api/v1/query", json={"sql": "from kept"}).json()["rows"] == [[1]]
    assert not unnamed.exists()


@pytest.mark.parametrize(("database", "tools"), [("postgresql", "pg_"), ("mariadb", "mariadb")])
def test_the_records_of_a_cluster_come_back_as_the_page_says(
    database: str, tools: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up, restore = re.findall(rf"`({tools}[^`]*(?:copy\.\w+)[^`]*)`", page("operations.md"))
    of_database: PostgreSQL | MariaDB = request.getfixturevalue(database)
    _let_tools_find(of_database, tmp_path, monkeypatch)
    with of_database.database() as url, of_database.database() as empty:
        server = Running(tmp_path / "data", database_url=url)
        try:
            server.start()
            with server.client() as http:
                final(http, submit(http, "select 1 as one", result_name="kept"))
                done = shell(back_up.replace(" tidegate", f" {url.rpartition('/')[2]}"), tmp_path)
                assert done.returncode == 0, done.stderr
                final(http, later := submit(http, "select 2 as two", result_name="later"))
            server.stop()
            done = shell(re.sub(r"\btidegate\b", empty.rpartition("/")[2], restore), tmp_path)
            assert done.returncode == 0, done.stderr
            server.start(database_url=empty)
            with server.client() as http:
                assert http.get(f"/api/v1/jobs/{later}").status_code == 404
                assert http.post("/api/v1/query", json={"sql": "from kept"}).json()["rows"] == [[1]]
                assert final(http, submit(http, "select 3"))["job_status"] == "SUCCEEDED"
        finally:
            server.stop()


def _let_tools_find(server: PostgreSQL | MariaDB, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator has it: address and password stand in variables or files of their own."""
    if isinstance(server, PostgreSQL):
        for name, value in zip(
            ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"),
            (ADDRESS, server.port, USER, server.password),
            strict=True,
        ):
            monkeypatch.setenv(name, str(value))
    else:
        account = f"user={USER}\npassword={server.password}\n"
        (home / ".my.cnf").write_text(f"[client]\nhost={ADDRESS}\nport={server.port}\n{account}")
        monkeypatch.setenv("HOME", str(home))


def test_the_unit_for_systemd_starts_a_command_that_there_is() -> None:
    [unit] = re.findall(r"^```ini\n(.*?)^```", page("operations.md"), re.DOTALL | re.MULTILINE)
    [start] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, command, *options = start.split()
    assert (Path(program).name, command) == ("tidegate", "serve")
    known = subprocess.run(
        [sys.executable, "-m", "tidegate", "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [option for option in options if option.startswith("--")] == ["--data-dir"]
    assert "--data-dir" in known
