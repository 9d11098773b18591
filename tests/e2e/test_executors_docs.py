"""The examples of the page on executors, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "executors.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


def run(folder: Path, text: str) -> str:
    (folder / "run.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_prints_what_the_page_shows(tmp_path: Path) -> None:
    [shown] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert run(tmp_path, EXAMPLES["program.py"]) == shown


def test_the_service_answers(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(EXAMPLES["service.py"])
    asking = """
import asyncio
from types import SimpleNamespace
from service import app, lifespan, total

async def ask():
    async with lifespan(app):
        print(await total(SimpleNamespace(app=app), 10))

if __name__ == "__main__":
    asyncio.run(ask())
"""
    assert run(tmp_path, asking) == "45\n"
