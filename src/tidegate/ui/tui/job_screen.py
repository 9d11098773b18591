"""One job: what is known about it, what happened to it, and what it prints, live."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import RichLog

from tidegate.client.aio_job import AsyncJob
from tidegate.errors import TidegateError
from tidegate.ui.cli.job import facts_of
from tidegate.ui.cli.output import clean
from tidegate.ui.tui import orders
from tidegate.ui.tui.cells import Cell, Span
from tidegate.ui.tui.painted import Lines

if TYPE_CHECKING:
    from tidegate.ui.tui.live import Top

TAIL = 500
"""Lines of output that are shown of what was printed before."""
_MOST_LINES = 5_000
_EVENTS = 4
_AGAIN_S = 3.0
_IN_THE_TITLE = ("status", "name")
_FACT_LINES = 3
"""A fact that takes more lines, such as a long query, is cut."""


class Output(RichLog):
    """What a job prints. It stays at its end when what stands above it takes more room; its base hears of that too."""

    def on_resize(self, event: Resize) -> None:
        self.scroll_end(animate=False)


class JobScreen(Screen[None]):
    """Follows the events and the output of a job until it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,backspace", "dismiss", "Back"),
        Binding("c", "cancel", "Cancel"),
    ]
    app: Top

    def __init__(self, job: AsyncJob) -> None:
        super().__init__()
        self.job = job
        self._events: deque[str] = deque(maxlen=_EVENTS)
        self._open_line = ""

    def compose(self) -> ComposeResult:
        yield Lines(id="job-title")
        yield Lines(id="facts")
        yield Lines(id="output-title")
        yield Output(id="output", max_lines=_MOST_LINES, wrap=True, markup=False, highlight=False)
        yield Lines(id="job-keys")

    def on_mount(self) -> None:
        self._draw()
        self.query_one("#output").focus()
        self.run_worker(self._again(self._follow_events), group="job")
        self.run_worker(self._again(self._follow_output), group="job")

    def on_resize(self) -> None:
        self._draw()

    def action_cancel(self) -> None:
        self.app.run_worker(self.app.give(orders.cancel(self.job.document)))

    async def _again(self, follow: Callable[[], Awaitable[None]]) -> None:
        """Follow to the end, over times in which the server is away."""
        while True:
            try:
                return await follow()
            except TidegateError as error:
                self._say(f"{error.message} Asking again in {_AGAIN_S:.0f} s.")
            await asyncio.sleep(_AGAIN_S)

    async def _follow_events(self) -> None:
        self._events.clear()
        async for event in self.job.events():
            await self.job.refresh()
            if event.type != "progress":
                at = f"{event.at.astimezone():%H:%M:%S}  " if event.at else ""
                self._events.append(f"{at}{clean(event.message)}")
            self._draw()
        await self.job.refresh()
        self._draw()

    async def _follow_output(self) -> None:
        output = self.query_one("#output", RichLog)
        output.clear()
        self._open_line = ""
        async for text in self.job.follow_logs(tail=TAIL):
            *whole, self._open_line = (self._open_line + text).split("\n")
            for line in whole:
                output.write(Text(clean(line)))
        if self._open_line:
            output.write(Text(clean(self._open_line)))
        if not output.lines:
            output.write(Text("It has printed nothing."))

    def _say(self, message: str) -> None:
        self._events.append(clean(message))
        self._draw()

    def _draw(self) -> None:
        width = max(self.size.width - 2, 20)
        name = f"  {clean(self.job.name)}" if self.job.name else ""
        head = (Span(f"Job {self.job.id}", "accent"), Span(f"{name}  {self.job.status}", "strong"))
        self.query_one("#job-title", Lines).show([head])
        self.query_one("#facts", Lines).show([*self._facts(width), (), *self._told(width)])
        self.query_one("#output-title", Lines).show([(Span("What it prints", "strong"),)])
        keys = "escape back   c cancel   arrows scroll"
        self.query_one("#job-keys", Lines).show([(Span(keys, "dim"),)])

    def _facts(self, width: int) -> list[Cell]:
        known = [(name, clean(value)) for name, value in facts_of(self.job) if value is not None]
        facts = [(name, value) for name, value in known if name not in _IN_THE_TITLE]
        names = max(len(name) for name, _ in facts)
        lines: list[Cell] = []
        for name, value in facts:
            pieces = wrap(value, width - names - 2, max_lines=_FACT_LINES, placeholder=" ...")
            for label, piece in zip_longest([name], pieces, fillvalue=""):
                lines.append((Span(f"{label:<{names}}  ", "dim"), Span(piece)))
        return lines

    def _told(self, width: int) -> list[Cell]:
        lines = (wrap(event, width, subsequent_indent=" " * 10, max_lines=2) for event in self._events)
        return [(Span(piece, "dim"),) for pieces in lines for piece in pieces]
