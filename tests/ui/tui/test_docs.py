"""What docs/top.md says of `tidegate top` is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import tidegate
from tests.ui.test_commands import env_of
from tests.ui.tui.drawn import FILE, drawn
from tests.ui.tui.test_plain import SNAPSHOT
from tidegate.ui.tui.dialogs import KEYS
from tidegate.ui.tui.job_screen import TAIL
from tidegate.ui.tui.live import WIDE_COLUMNS, WIDE_LINES
from tidegate.ui.tui.look import MOST_JOBS, SELDOM_S
from tidegate.ui.tui.pace import LONGEST_S

PAGE = (Path(__file__).parents[3] / "docs" / "top.md").read_text("utf-8")


def test_the_keys_are_those_of_the_program():
    table = PAGE.partition("## Keys")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(.+?)` \| (.+) \|$", table, re.MULTILINE)) == KEYS


def test_the_example_of_once_is_what_it_prints():
    (example,) = re.findall(r"^\$ tidegate top --once\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert example == SNAPSHOT.read_text("utf-8")


def test_the_picture_is_what_it_draws():
    assert drawn() == FILE.read_text("utf-8"), "write it anew: python -m tests.ui.tui.drawn"


def test_the_figures_are_those_of_the_program():
    for told in (
        f"From {WIDE_COLUMNS} by {WIDE_LINES} on",
        f"At most {MOST_JOBS} running",
        f"every {SELDOM_S:.0f} seconds",
        f"at most {LONGEST_S:.0f}",
        f"the last {TAIL} lines",
    ):
        assert told in " ".join(PAGE.split())


def test_the_example_for_scripts_works(client: tidegate.Client):
    example = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[-1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", example],
        env=env_of(client.url, PATH=path),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout.strip().isdigit()) == (0, "", True)
