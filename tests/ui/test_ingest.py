"""`tidegate ingest` against a server that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidegate
from tests.ui.test_commands import run
from tidegate.ui.cli.ingest_progress import task_lines

STATES = ("queued", "scheduled", "running", "succeeded", "failed", "cancelled")


@pytest.fixture
def folder(client: tidegate.Client) -> Path:
    known = client.sources.get("cities").path
    assert known is not None
    return Path(known).parent


def test_a_file_that_fails_is_told_and_the_others_load(client: tidegate.Client, folder: Path) -> None:
    (folder / "fine.csv").write_text("a,b\n1,x\n")
    (folder / "void.csv").write_text("")
    files = [str(folder / name) for name in ("fine.csv", "void.csv")]
    done = run("ingest", *files, "--table", "{file}_cli", url=client.url)
    assert done.returncode == 1
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["fine.csv", "-", "1", "0", "fine_cli", "loaded"],
        ["void.csv", "-", "-", "-", "-", "failed"],
    ]
    assert "'void.csv' is empty" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json_is_one_document_with_the_loads(client: tidegate.Client, folder: Path) -> None:
    (folder / "doc.csv").write_text("a\n1\n")
    done = run("ingest", str(folder / "doc.csv"), "--table", "doc_cli", "--json", url=client.url)
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert [load["result"]["inserted"] for load in document["loads"]] == [1]


@pytest.mark.parametrize(
    "options", [["--sheet", "A", "--all-sheets"], ["--type", "a"], ["--preview", "--all-sheets"]]
)
def test_what_does_not_go_together_is_wrong_usage(client: tidegate.Client, options: list[str]) -> None:
    assert run("ingest", "x.csv", *options, url=client.url).returncode == 2


@given(
    st.lists(
        st.tuples(st.text(max_size=60), st.sampled_from(STATES), st.none() | st.floats(0, 1)), max_size=30
    ),
    st.integers(40, 200),
)
def test_bars_fit_the_terminal_and_are_few(tasks, columns):
    documents = [{"name": name, "state": state, "progress": share} for name, state, share in tasks]
    lines = task_lines(documents, columns)
    assert len(lines) <= 13
    assert all("\x1b" not in line and len(line) <= columns for line in lines)
