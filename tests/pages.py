"""The pages of the documentation as tests read them: their fenced blocks, and the commands that stand in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^( *)(`{3,})(\w*)\n(.*?)^\1\2$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """One fenced block: `page` from the root on, the `heading` above it, its `language` (may be empty) and text."""

    page: str
    heading: str
    language: str
    text: str
    line: int


def all_pages() -> list[Path]:
    """Every page that users read, whatever folder it lies in."""
    return sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])


def fences(page: Path) -> Iterator[Fence]:
    """The fenced blocks of a page in their order; lines of a block are freed of its indentation."""
    text = page.read_text("utf-8")
    blank = _FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    for found in _FENCE.finditer(text):
        above = _HEADING.findall(blank, 0, found.start())
        indentation, _, language, body = found.groups()
        yield Fence(
            page=str(page.relative_to(ROOT)),
            heading=above[-1] if above else "",
            language=language,
            text=re.sub(f"^{indentation}", "", body, flags=re.MULTILINE),
            line=text.count("\n", 0, found.start()) + 1,
        )


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (DOCS / name).read_text("utf-8")


def console(text: str) -> list[tuple[str, str]]:
    """The commands of all console blocks, each with the output that is shown for it."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = "".join(re.sub(r"^ +(?=\$ )", "", block, flags=re.MULTILINE) for block in blocks)
    found = re.findall(r"^\$ (.*?(?:\\\n.*?)*)$\n((?:(?!\$ )[^\n]+\n)*)", lines, re.MULTILINE)
    return [(command, output) for command, output in found]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with the `tidegate` of this interpreter in front of the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-e", "-c", command], cwd=folder, env={**os.environ, "PATH": path, "TIDEGATE_YIELD_CPU": "off"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
