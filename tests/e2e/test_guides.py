"""The guides, typed line by line into a shell as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import others_environment
from tests.pages import DOCS, console, fences, page
from tidegate.testing.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
# Those whose reader has a server at hand, and the one that starts it.
GUIDES = ("concepts.md", "sizing.md", "capacity.md", "troubleshooting.md", "upgrade.md")
ANSWERS = "curl -sf --retry 60 --retry-delay 1 --retry-connrefused -o /dev/null http://127.0.0.1:8420/health"
MARK = "\x1e"


def typed(commands: list[str], folder: Path) -> list[str]:
    """What each command prints on standard output, typed one after another into one shell."""
    lines = ["set -em", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for command in commands:
        lines += [f"printf '{MARK}'", command]
        if command.endswith("&"):
            lines.append(ANSWERS)
    port = str(free_port())
    settings = {
        "TIDEGATE_DATA_DIR": str(folder / "data"),
        "TIDEGATE_PORT": port,
        "TIDEGATE_YIELD_CPU": "off",
        "TIDEGATE_ENABLE_COMMANDS": "true",
        "TIDEGATE_GRACE_S": "0.5",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    script = "\n".join(lines).replace(":8420", f":{port}")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**others_environment(), **settings},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.split(MARK)[1:]


def as_shown(output: str, shown: str) -> bool:
    """Whether the output is what the page shows: `…` stands for anything, columns may be wider. Nothing shown is no claim."""
    parts = (re.escape(narrow(part)) for part in shown.rstrip("\n").split("…"))
    return not shown or re.fullmatch(".*".join(parts), narrow(output.rstrip("\n")), re.DOTALL) is not None


def narrow(text: str) -> str:
    return re.sub(r" +", " ", text)


@pytest.mark.parametrize("guide", ["start.md", *GUIDES])
def test_the_commands_of_a_guide_print_what_it_shows(guide, tmp_path):
    examples = console(page(guide))
    commands = [command for command, _ in examples]
    before = [] if guide == "start.md" else ["tidegate serve &"]
    outputs = typed([*before, *commands], tmp_path)[len(before) :]
    wrong = [
        (command, shown, output)
        for (command, shown), output in zip(examples, outputs, strict=True)
        if not as_shown(output, shown)
    ]
    assert wrong == []


def test_the_program_of_the_first_guide_works(tmp_path):
    [program] = [fence.text for fence in fences(DOCS / "start.md") if fence.language == "python"]
    (tmp_path / "ask.py").write_text(program)
    first = "printf 'city,people\\nRome,2800000\\nOslo,700000\\n' > towns.csv"
    *_, answer = typed(
        ["tidegate serve &", first, "tidegate sources upload towns.csv", "python -W error ask.py"], tmp_path
    )
    assert answer == "[{'most': 2800000}]\n"
