"""The examples of docs/lint.md, typed as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.e2e.ingesting import House
from tests.e2e.server import final
from tests.e2e.test_lint import archive
from tests.pages import console, page, shell
from tidegate.workloads.lint.judge import LintWorkload


def test_the_commands_show_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "orders.sql").write_text("SELECT  a from t\n")
    (tmp_path / "queries" / "cities.sql").write_text("SELECT name FROM cities\n")
    examples = console(page("lint.md"))
    assert len(examples) == 5
    codes = []
    for command, shown in examples:
        done = shell(f"export TIDEGATE_DATA_DIR={tmp_path}/data; {command}", tmp_path)
        assert done.stdout.replace("\r\n", "\n") == shown, (command, done.stderr)
        codes.append(done.returncode)
    assert codes == [1, 1, 0, 0, 0]


def test_the_bodies_are_taken(house: House) -> None:
    content = archive({"a.sql": "SELECT 1\n"})
    house.http.put("/api/v1/files/queries.zip", params={"source": "false"}, content=content)
    bodies = re.findall(r"```json\n(.*?)```", page("lint.md"), re.DOTALL)
    assert len(bodies) == 2
    for body in bodies:
        answer = house.http.post("/api/v1/jobs", json=json.loads(body))
        assert answer.status_code == 202, answer.text
        assert final(house.http, answer.json()["job_id"])["job_status"] == "SUCCEEDED"


def test_the_fields_of_the_page_are_those_of_the_kind() -> None:
    table = page("lint.md").partition("## Fields")[2].partition("## Verdicts")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} | {"file_name"}
    assert named == LintWorkload.fields
