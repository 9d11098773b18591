"""The picture of docs/top.md. `python -m tests.ui.tui.drawn` draws it anew."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.ui.tui.pictures import NOW, busy_picture
from tidegate.client.aio import AsyncClient
from tidegate.client.session import Target
from tidegate.ui.tui.cells import UNICODE
from tidegate.ui.tui.history import MOST, STEP_S
from tidegate.ui.tui.live import Top
from tidegate.ui.tui.look import Watcher
from tidegate.ui.tui.picture import Picture

FILE = Path(__file__).parents[3] / "docs" / "top.svg"
SIZE = (132, 31)
FONTS = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace'


class _Shown(Watcher):
    async def look(self) -> Picture:
        return busy_picture()


def _ten_minutes() -> Iterator[Picture]:
    """A machine on which much came and went while it was watched."""
    last = busy_picture()
    for step in range(MOST):
        percent = 97 - 70 * abs(math.sin(step / 8))
        system = {
            **last.part("system"),
            "cpu": {"percent": percent},
            "memory": {"percent": 61 - 40 * abs(math.sin(step / 13))},
        }
        taken_at = NOW - timedelta(seconds=STEP_S * (MOST - step))
        yield replace(last, taken_at=taken_at, parts={"system": system})


def drawn() -> str:
    """What the live view makes of a busy server, as SVG: the same each time, as long as Rich and Textual are."""

    async def draw() -> str:
        async with AsyncClient(lambda: Target("http://127.0.0.1:9", None)) as client:
            top = Top(client, every_s=3600.0, theme="dark", glyphs=UNICODE)
            top.watcher = _Shown(client)
            for picture in _ten_minutes():
                top.history.add(picture)
            async with top.run_test(size=SIZE) as pilot:
                while top.picture is None:
                    await pilot.pause()
                await pilot.pause()
                return top.export_screenshot(title="tidegate top", simplify=True)

    return _with_fonts_of_the_reader(asyncio.run(draw()))


def _with_fonts_of_the_reader(picture: str) -> str:
    """Rich has readers fetch a font from elsewhere."""
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code, monospace", FONTS)


if __name__ == "__main__":
    FILE.write_text(drawn(), "utf-8")
