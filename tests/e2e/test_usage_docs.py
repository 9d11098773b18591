"""The examples of docs/usage.md, typed as they stand there, on a server that has done some work."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Running, final
from tests.pages import console, page, shell
from tidegate.core.usage import Tally

PAGE = page("usage.md")


@pytest.fixture
def server(own_server: Running) -> Running:
    """One that has run two jobs, of which one failed."""
    own_server.start()
    with own_server.client() as http:
        for sql in ("select 1", "select error('on purpose')"):
            job = http.post("/api/v1/jobs", json={"kind": "sql", "sql": sql}).json()
            final(http, job["job_id"])
    return own_server


def test_the_commands_show_who_used_how_much(server: Running, tmp_path: Path) -> None:
    (report,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "report.json").write_text(report)
    shown_by: dict[str, str] = {}
    for command, shown in console(PAGE):
        typed = command.replace("localhost:8420", server.url.removeprefix("http://"))
        typed = typed.replace("curl ", "curl --fail-with-body ")
        done = shell(f"export TIDEGATE_URL={server.url}; {typed}", tmp_path)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stdout.startswith(shown.strip().partition(", ...")[0]), (command, done.stdout)
        shown_by[command] = done.stdout
    table, of_queues, of_kinds = list(shown_by.values())[:3]
    assert re.search(r"^all +2 +1 +0 ", table, re.MULTILINE), table
    (row,) = csv.DictReader(io.StringIO(of_queues))
    assert (row["name"], row["jobs"], row["failed"]) == ("default", "2", "1")
    (item,) = json.loads(of_kinds)["items"]
    assert (item["name"], item["jobs"], item["attempts"]) == ("sql", 2, 2)
    assert 0 < item["cpu_seconds"] < item["wall_seconds"] * (os.cpu_count() or 1) + 1
    assert item["peak_gib_seconds"] > 0
    assert item["allocated_gib_seconds"] > 0


def test_the_example_in_python_works(server: Running, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path, env={**os.environ, "TIDEGATE_URL": server.url},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"sql: 3 jobs, \d+\.\d\d s of CPU\n\d+\.\d+\n", done.stdout), done.stdout


def test_the_page_names_every_sum() -> None:
    table = PAGE.partition("## What is counted")[2].partition("## How it is kept")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
    assert named == {*Tally._fields, "wait_mean_s", "wait_p95_s"} - {"wait_seconds"}
