"""Writes the help texts of all commands into docs/cli.md, between its markers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS: tuple[str, ...] = (
    "", "serve",
    "worker", "worker list", "worker drain", "worker resume", "worker stop",
    "sql", "ingest", "lint", "submit", "jobs",
    "job", "job show", "job explain", "job wait", "job cancel", "job result", "job logs", "job files",
    "job events", "job tasks",
    "top",
    "sources", "sources list", "sources add", "sources upload", "sources show", "sources preview",
    "sources download", "sources delete",
    "queues", "queues list", "queues pause", "queues resume", "queues set",
    "alerts", "alerts list", "alerts show", "alerts ack", "alerts silence", "alerts silences",
    "alerts unsilence", "alerts rules", "alerts rule", "alerts channels", "alerts test",
    "pressure", "pressure show", "pressure rules", "pressure change", "pressure reset",
    "safe-mode", "safe-mode show", "safe-mode enter", "safe-mode leave",
    "quarantine", "quarantine list", "quarantine show", "quarantine release",
    "key", "key create", "key first", "key list", "key revoke", "db", "db upgrade", "audit", "usage",
    "doctor", "verify", "version",
)  # fmt: skip
BEGIN, END = "<!-- help texts: written by scripts/cli_docs.py -->", "<!-- end of help texts -->"
PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

# One process for all texts: starting one for each would take half a minute.
_PROGRAM = """
import contextlib, io, sys
from tidegate.ui.cli import app
for command in sys.argv[1:]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        app([*command.split(), "--help"], prog_name="tidegate")
    print(text.getvalue().strip(), end="\\0")
"""


def help_texts(commands: Sequence[str]) -> list[str]:
    """What `--help` prints on a terminal of 80 columns."""
    environment = {
        "COLUMNS": "80",
        "TERMINAL_WIDTH": "80",
        "NO_COLOR": "1",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *commands],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.split("\0")[:-1]


def section() -> str:
    """The part of the page that is written here."""
    texts = zip(COMMANDS, help_texts(COMMANDS), strict=True)
    parts = [f"### {f'tidegate {command}'.strip()}\n\n```text\n{text}\n```" for command, text in texts]
    return "\n\n".join([BEGIN, *parts, END])


def with_section(page: str) -> str:
    """The page with its help texts as they are now."""
    head, _, rest = page.partition(BEGIN)
    return head + section() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_section(PAGE.read_text("utf-8")), "utf-8")
