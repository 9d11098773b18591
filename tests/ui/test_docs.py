"""What users read is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tidegate
from scripts.cli_docs import COMMANDS, PAGE, with_section
from tests.client.live import live_client
from tests.environment import others_environment
from tidegate.ui.cli import exits, lazy

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text("utf-8"), re.DOTALL)


def test_the_help_texts_in_the_docs_are_those_of_the_program():
    page = PAGE.read_text("utf-8")
    assert page == with_section(page), "run scripts/cli_docs.py"


def test_every_command_is_in_the_docs():
    known = set(COMMANDS)
    for name in lazy.COMMANDS:
        assert name in known
        app = import_module(f"tidegate.ui.cli.{lazy._MODULES.get(name, name)}").app
        inner = [command.name or command.callback.__name__ for command in app.registered_commands]
        if len(inner) > 1:
            assert {f"{name} {command}" for command in inner} <= known


def test_the_lines_of_the_command_list_are_those_of_the_commands():
    group = lazy.LazyGroup(name="tidegate")
    for name, line in lazy.COMMANDS.items():
        help_text = group.get_command(None, name).help
        assert help_text.startswith(line), name


def test_every_exit_code_is_in_the_docs():
    page = PAGE.read_text("utf-8")
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes | {0} == {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}


def test_every_public_error_is_in_the_docs():
    page = (DOCS / "python.md").read_text("utf-8")
    errors = {
        name
        for name in tidegate.__all__
        if isinstance(getattr(tidegate, name), type)
        and issubclass(getattr(tidegate, name), tidegate.TidegateError)
    }
    assert errors - {"TidegateError"} == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_the_examples_of_the_python_guide_work(example, tmp_path):
    """Each on a server of its own, so that none relies on what another has left there."""
    kept = others_environment()
    with live_client(tmp_path / "data") as client:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXAMPLES[example]],
            cwd=tmp_path,
            env={**kept, "TIDEGATE_URL": client.url},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
