"""`tidegate pressure` and `client.pressure`, against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tests.ui.test_commands import run
from tidegate.errors import InvalidInput

CHANGES = {
    "signals": {"disk": {"warn": [{"thresholds": {"disk_free_percent": {"bound": 10}}}], "critical": []}},
    "levels": {"warn": {"starts_per_s": 5}},
}


def told(client: tidegate.Client, *arguments: str, stdin: str | None = None) -> str:
    done = run("pressure", *arguments, url=client.url, given=stdin)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_the_level_is_shown_with_what_is_felt(client: tidegate.Client):
    shown = told(client, "show")
    assert shown.startswith("The level of the server is ")
    assert "memory_used_percent" in shown
    assert "Worker local: " in shown
    assert json.loads(told(client, "show", "--json"))["workers"][0]["worker_id"] == "local"


def test_rules_are_shown_changed_from_a_file_and_set_back(client: tidegate.Client, tmp_path: Path):
    assert "memory_free_bytes <= 256 MiB" in told(client, "rules")
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(CHANGES))
    changed = told(client, "change", str(file))
    assert "disk_free_percent <= 10" in changed
    assert "never" in changed
    assert "Changed by local" in changed
    assert client.pressure.rules()["changes"] == CHANGES
    assert json.loads(told(client, "change", "-", "--json", stdin="{}"))["changes"] == {}
    assert "Changed" not in told(client, "reset")


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ('{"signals": {"dsk": {}}}', 4, "signals has no 'dsk'; it has memory"),
        ('{"levels": {"warn": {"starts_per_s": -5}}}', 4, "levels.warn.starts_per_s must be a number from 0"),
        ("[", 2, "- is no JSON"),
        ("[]", 2, "- must hold a JSON object"),
    ],
)
def test_wrong_rules_are_refused_by_name(client: tidegate.Client, text: str, status: int, message: str):
    done = run("pressure", "change", "-", url=client.url, given=text)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr


def test_a_file_that_is_not_there_is_named(client: tidegate.Client):
    done = run("pressure", "change", "none.json", url=client.url)
    assert (done.returncode, "none.json cannot be read" in done.stderr) == (2, True)


def test_both_faces_read_and_change_rules(client: tidegate.Client):
    assert client.pressure.now()["level"] in ("normal", "warn", "critical", "emergency")

    async def story() -> Any:
        async with tidegate.connect_async(client.url) as other:
            await other.pressure.now()
            await other.pressure.change_rules(CHANGES)
            with pytest.raises(InvalidInput, match="levels"):
                await other.pressure.change_rules({"levels": {"none": {}}})
            seen = (await other.pressure.rules())["changes"]
            await other.pressure.change_rules({})
            return seen

    assert asyncio.run(story()) == CHANGES
