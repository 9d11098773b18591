"""Killed before any of its statements, a load has changed nothing or everything, and the next one cleans up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.targets.support import Lab
from tidegate.workloads.targets.model import LOADS

ROOT = Path(__file__).parents[3]
MOST_STATEMENTS = 120
Load = Callable[[int], int]

OLD = "SELECT i AS id, 'old' AS name FROM range(0, 3) t(i)"
NEW = "SELECT i AS id, 'new' AS name FROM range(1, 6) t(i) UNION ALL SELECT NULL, 'bad'"
CASES: dict[str, tuple[dict[str, Any], bool, set[tuple[int | None, str]]]] = {
    "append to a new table": ({}, False, {*((i, "new") for i in range(1, 6)), (None, "bad")}),
    "append": (
        {},
        True,
        {*((i, "old") for i in range(3)), *((i, "new") for i in range(1, 6)), (None, "bad")},
    ),
    "replace": ({"mode": "replace", "keys": ["id"]}, True, {(i, "new") for i in range(1, 6)}),
    "upsert": ({"mode": "upsert", "keys": ["id"]}, True, {(0, "old"), *((i, "new") for i in range(1, 6))}),
    "upsert into a new table": ({"mode": "upsert", "keys": ["id"]}, False, {(i, "new") for i in range(1, 6)}),
}


@pytest.fixture
def loader() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.workloads.targets.loader"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        yield process
        process.kill()


def ask(loader: subprocess.Popen[str], **order: Any) -> int:
    assert loader.stdin
    assert loader.stdout
    loader.stdin.write(json.dumps(order) + "\n")
    loader.stdin.flush()
    return int(loader.stdout.readline())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_a_kill_before_any_statement_leaves_all_or_nothing(
    lab: Lab, loader: subprocess.Popen[str], case: str
) -> None:
    options, existing, wanted = CASES[case]
    extract = lab.extract(NEW)
    order = {"url": lab.url, "path": extract.path, "row_count": extract.row_count, "options": options}
    seen = set()
    for kill_at in range(1, MOST_STATEMENTS):
        before = start_anew(lab, existing=existing, keys=options.get("keys", []))
        status = ask(loader, kill_at=kill_at, **order)
        found = content(lab)
        assert found in (before, wanted), f"killed at {kill_at}"
        seen.add(found == before)
        if status == 0:
            break
        assert status == -9
        assert ask(loader, kill_at=0, **order) == 0
        assert content(lab) == wanted, f"loaded again after a kill at {kill_at}"
        assert not {name for name in lab.tables() if name.startswith("tidegate_")} - {LOADS}
        bad = 1 if options else 0
        assert not bad or lab.rows("SELECT count(*) FROM t_bad_rows") == [(bad,)]
        loads = 1 if "replace" in options.values() or not existing else 2
        assert lab.rows(f"SELECT count(*) FROM {LOADS} WHERE target_table = 't'") == [(loads,)]
    else:
        raise AssertionError("the load has more statements than were tried")
    assert seen == {True, False}


def start_anew(lab: Lab, *, existing: bool, keys: list[str]) -> Any:
    """With `existing` there is a table, with a primary key where the load has keys."""
    for name in lab.tables():
        lab.run(f'DROP TABLE "{name}"')
    if existing:
        lab.load(OLD, mode="upsert" if keys else "append", keys=keys, content="old")
    return content(lab)


def content(lab: Lab) -> Any:
    return set(lab.rows("SELECT id, name FROM t")) if "t" in lab.tables() else None
