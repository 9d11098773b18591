"""Drives the live view without a terminal: presses its keys, and reads its screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tidegate.client.aio import AsyncClient
from tidegate.client.session import choose_server
from tidegate.ui.tui.cells import UNICODE, Glyphs
from tidegate.ui.tui.live import Top

WITHIN_S = 30.0
WIDE, NARROW = (140, 42), (80, 24)


class Driver:
    """One live view, and somebody in front of it."""

    def __init__(self, app: Top, pilot: Any) -> None:
        self.app = app
        self._pilot = pilot

    @property
    def screen(self) -> str:
        """The text of the screen, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def sees(self, *texts: str) -> str:
        """Waits until all of them are on the screen, and gives it."""
        await self.until(
            lambda: all(text in self.screen for text in texts), lambda: f"{texts} in\n{self.screen}"
        )
        return self.screen

    async def no_longer_sees(self, text: str) -> None:
        await self.until(lambda: text not in self.screen, lambda: f"no {text!r} in\n{self.screen}")

    async def until(self, look: Callable[[], object], what: Callable[[], str] = lambda: "it") -> None:
        """Waits until something is so; the server tells nobody when it has changed."""
        deadline = time.monotonic() + WITHIN_S
        while not look():
            assert time.monotonic() < deadline, f"in vain waited for {what()}"
            await self._pilot.pause(0.02)


def drive(
    watch: Callable[[Driver], Awaitable[None]],
    *,
    url: str | None = None,
    data_dir: Path | None = None,
    api_key: str | None = None,
    size: tuple[int, int] = WIDE,
    theme: str = "dark",
    glyphs: Glyphs = UNICODE,
) -> None:
    """Have somebody watch a server, whose `url` or `data_dir` is given."""

    async def run() -> None:
        client = AsyncClient(lambda: choose_server(url, data_dir, api_key, {}, may_start=False))
        app = Top(client, every_s=0.5, theme=theme, glyphs=glyphs)
        async with client, app.run_test(size=size) as pilot:
            await watch(Driver(app, pilot))

    asyncio.run(run())
