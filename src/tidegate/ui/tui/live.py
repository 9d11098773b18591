"""The live view: it asks the server again and again, and shows what it says. The home of Textual, with what it imports."""

from __future__ import annotations

import asyncio
import locale
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from tidegate.client.aio import AsyncClient
from tidegate.client.shapes import Document
from tidegate.core.identity import Role
from tidegate.errors import AccessDenied, Busy, ServerUnreachable, TidegateError
from tidegate.ui.cli.output import clean
from tidegate.ui.tui import orders
from tidegate.ui.tui.cells import ASCII, UNICODE, Cell, Glyphs, Span, Tone, fitted
from tidegate.ui.tui.dialogs import Help, Question
from tidegate.ui.tui.history import History
from tidegate.ui.tui.job_screen import JobScreen
from tidegate.ui.tui.look import Filter, Watcher
from tidegate.ui.tui.orders import Order
from tidegate.ui.tui.pace import Pace
from tidegate.ui.tui.painted import Lines
from tidegate.ui.tui.pane import Pane
from tidegate.ui.tui.picture import Picture
from tidegate.ui.tui.summary import machine_lines, state_line, title_line
from tidegate.ui.tui.tables import TABLES
from tidegate.ui.tui.themes import DARK, THEMES, chosen_theme

WIDE_COLUMNS, WIDE_LINES = 110, 30
"""From this size on all tables are shown at once, below it one at a time."""
_SAID_S = 6.0
_JOB_PANES = ("running", "waiting")
_LEAST: Mapping[str, tuple[str, Role]] = {
    "c": ("cancel", Role.USER),
    "p": ("pause or resume", Role.OPERATOR),
    "d": ("drain or resume", Role.OPERATOR),
    "a": ("acknowledge", Role.OPERATOR),
}
_KEYS: Mapping[str, tuple[str, ...]] = {
    "running": ("c",),
    "waiting": ("c",),
    "workers": ("d",),
    "queues": ("p",),
    "health": ("a",),
}
"""What can be done with a row of each table."""


async def watch(client: AsyncClient, *, every_s: float, theme: str, ascii_only: bool | None) -> None:
    """Show a server until q is pressed. Raises what there is to raise, such as ServerUnreachable, before anything is drawn."""
    glyphs = ASCII if (needs_ascii() if ascii_only is None else ascii_only) else UNICODE
    async with client:
        await Watcher(client).look()
        await Top(client, every_s=every_s, theme=chosen_theme(theme), glyphs=glyphs).run_async()


def needs_ascii() -> bool:
    """Whether the terminal is one that has no other characters, by its kind and by the locale."""
    return os.environ.get("TERM") in ("linux", "vt100", "vt220") or "UTF" not in locale.getencoding().upper()


class Top(App[None]):
    """`tidegate top`, by a client that is open as long as this runs."""

    CSS_PATH = Path(__file__).with_name("live.tcss")
    TITLE = "tidegate top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"go('{name}')", name) for number, name in enumerate(TABLES, 1)),
        Binding("enter", "show_job", "Show"),
        Binding("c", "cancel", "Cancel"),
        Binding("p", "pause", "Pause"),
        Binding("d", "drain", "Drain"),
        Binding("a", "acknowledge", "Acknowledge"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "end_filter", "All jobs"),
        Binding("s", "sort", "Sort"),
        Binding("S", "turn", "Sort the other way"),
        Binding("r", "ask", "Ask now"),
        Binding("t", "theme", "Colours"),
        Binding("question_mark", "help", "Keys"),
        Binding("q,ctrl+c", "quit", "Quit"),
    ]

    def __init__(self, client: AsyncClient, *, every_s: float, theme: str, glyphs: Glyphs) -> None:
        # What takes colours away is chosen here, and for good: by whether the terminal's own would be used.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        for one in THEMES:
            self.register_theme(one)
        self.theme = theme
        self.watcher = Watcher(client)
        self.picture: Picture | None = None
        self.away: TidegateError | None = None
        self.role: str | None = None
        self._pace = Pace(every_s)
        self._glyphs = glyphs
        self.history = History()
        self._due = asyncio.Event()
        self._next_at_s = 0.0
        self._said: tuple[str, Tone, float] = ("", "plain", 0.0)
        self._active = "running"
        # Held here rather than looked up: what a late answer draws on may be gone from the screen by then.
        self._panes = {name: Pane(number, name, glyphs) for number, name in enumerate(TABLES, 1)}
        self._head, self._machine, self._tabs, self._foot = (
            Lines(id=name) for name in ("head", "machine", "tabs", "foot")
        )
        self._field = Input(id="filter", placeholder="words, queue:NAME, kind:NAME, owner:NAME", compact=True)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DARK.variables)

    def compose(self) -> ComposeResult:
        yield self._head
        with Horizontal(id="upper"):
            yield self._machine
            yield self._tabs
            yield self._panes["health"]
        with Horizontal(id="middle"):
            yield self._panes["workers"]
            yield self._panes["queues"]
        with Vertical(id="lower"):
            yield self._panes["running"]
            yield self._panes["waiting"]
        yield self._foot
        yield self._field

    def on_mount(self) -> None:
        self.set_class(self._glyphs is ASCII, "-ascii")
        self.action_go(self._active)
        self._fit()
        self.set_interval(1.0, self._draw_frame)
        self.run_worker(self._follow(), exclusive=True, group="follow")

    def on_resize(self) -> None:
        self._fit()

    # Asking

    async def _follow(self) -> None:
        while True:
            pause_s = await self._look()
            self._next_at_s = time.monotonic() + pause_s
            self._draw()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), pause_s)
            self._due.clear()

    async def _look(self) -> float:
        """One look at the server; seconds until the next one."""
        begun_s = time.monotonic()
        try:
            if isinstance(self.away, ServerUnreachable):
                await self.watcher.client.find_again()
            self.picture = await self.watcher.look()
        except TidegateError as error:
            self.away = error
            self.watcher.forget()
            return self._pace.failed(error)
        self.away = None
        self.role = self.picture.role
        self.history.add(self.picture)
        return self._pace.answered(time.monotonic() - begun_s)

    def look_now(self) -> None:
        """Do not wait for the next look."""
        self.watcher.forget()
        self._due.set()

    # Showing

    @property
    def pane(self) -> Pane:
        """The one that keys mean."""
        return self._panes[self._active]

    @property
    def wide(self) -> bool:
        return self.size.width >= WIDE_COLUMNS and self.size.height >= WIDE_LINES

    def _fit(self) -> None:
        """All tables at once where there is room, else one."""
        self.set_class(not self.wide, "-small")
        for name, pane in self._panes.items():
            pane.titled = self.wide
            pane.set_class(name == self._active, "-active")
        for row, names in (("upper", ("health",)), ("middle", ("workers", "queues")), ("lower", _JOB_PANES)):
            self.query(f"#{row}").set_class(self._active in names, "-active")
        self._draw()
        self.call_after_refresh(self._draw)  # widths are known only then

    def _draw(self) -> None:
        if self.picture is not None:
            for name, pane in self._panes.items():
                pane.show(TABLES[name](self.picture, self._glyphs))
            width = max(self._machine.size.width, 1)
            self._machine.show(machine_lines(self.picture, self.history, width, self._glyphs))
        self._draw_frame()

    def _draw_frame(self) -> None:
        """The lines at the edge, some of which say how long something takes."""
        width = self.size.width - 2
        self._head.show(self._head_lines(width))
        self._tabs.show([self._tab_line()])
        self._foot.show([self._foot_line(width)])

    def _head_lines(self, width: int) -> list[Cell]:
        if self.picture is None:
            told = self._away_line(width) if self.away else (Span("Asking the server ...", "dim"),)
            return [(Span("Tidegate", "accent"), Span(" top")), told]
        told = self._away_line(width) if self.away else state_line(self.picture, width, self._glyphs)
        return [title_line(self.picture, width, self._glyphs), told]

    def _away_line(self, width: int) -> Cell:
        left_s = max(self._next_at_s - time.monotonic(), 0.0)
        told = f"reconnecting in {left_s:.0f} s" if left_s >= 0.5 else "reconnecting"
        what = {AccessDenied: "Not let in", Busy: "Too busy"}.get(type(self.away), "No answer")
        why = clean(self.away.message) if self.away else ""
        return fitted((Span(f"{what}, {told}. ", "bad"), Span(why, "dim")), width, self._glyphs.more)

    def _tab_line(self) -> Cell:
        spans: list[Span] = []
        for own_name, pane in self._panes.items():
            here = own_name == self._active
            counted = len(pane.table.rows) if pane.table.counted is None else pane.table.counted
            count = f" {counted}" if pane.table.title else ""
            name = pane.table.title.partition(" ")[0] or own_name.capitalize()
            spans += [
                Span(f"{pane.number} ", "dim"),
                Span(name, "accent" if here else "plain"),
                Span(f"{count}   ", "dim"),
            ]
        return tuple(spans)

    def _foot_line(self, width: int) -> Cell:
        text, tone, until_s = self._said
        if time.monotonic() < until_s:
            return fitted((Span(text, tone),), width, self._glyphs.more)
        keys = [("enter", "show", True)] if self._active in _JOB_PANES else []
        keys += [(key, _LEAST[key][0], self._may(_LEAST[key][1])) for key in _KEYS[self._active]]
        keys += [("/", "filter", True), ("s", "sort", True), ("?", "all keys", True), ("q", "quit", True)]
        spans: list[Span] = []
        for key, what, allowed in keys:
            spans += [Span(key, "strong" if allowed else "dim"), Span(f" {what}   ", "dim")]
        if self.watcher.filter.text:
            spans.append(Span(f"only {self.watcher.filter.text} (escape: all)", "accent"))
        return fitted(spans, width, self._glyphs.more)

    def _may(self, least: Role) -> bool:
        return self.role is None or Role(self.role).may(least)

    def say(self, text: str, tone: Tone = "plain") -> None:
        """Tell something in the last line for a while."""
        self._said = (clean(text), tone, time.monotonic() + _SAID_S)
        self._draw_frame()

    # Keys

    def action_go(self, name: str) -> None:
        self._active = name
        self._fit()
        self.pane.focus()

    def action_go_on(self, by: int) -> None:
        names = list(TABLES)
        self.action_go(names[(names.index(self._active) + by) % len(names)])

    def on_descendant_focus(self) -> None:
        """A click may have chosen another table."""
        if isinstance(self.focused, Pane) and self.focused.id not in (None, self._active):
            self._active = str(self.focused.id)
            self._draw_frame()

    def action_sort(self) -> None:
        self.say(f"Sorted by {self.pane.sort_by_next()}.")

    def action_turn(self) -> None:
        self.say(f"Sorted by {self.pane.sort_the_other_way()}.")

    def action_ask(self) -> None:
        self.look_now()

    def action_theme(self) -> None:
        if self.no_color:
            self.say("There are no colours: NO_COLOR is set.")
            return
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)]
        self.say(f"Colours: {self.theme}.")

    def action_help(self) -> None:
        forbidden = [what for what, least in _LEAST.values() if not self._may(least)]
        note = f"Your key has the role {self.role}" if self.role else "Your role is not known"
        if forbidden:
            note += f", which may not: {', '.join(forbidden)}"
        self.push_screen(Help(f"{note}."))

    def action_filter(self) -> None:
        self._field.value = self.watcher.filter.text
        self.add_class("-filtering")
        self._field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._filter_by(event.value)

    def action_end_filter(self) -> None:
        self._filter_by(self.watcher.filter.text if self.has_class("-filtering") else "")

    def _filter_by(self, text: str) -> None:
        self.remove_class("-filtering")
        if text != self.watcher.filter.text:
            self.watcher.filter = Filter.parse(text)
            self.look_now()
        if self._active not in _JOB_PANES and text:
            self._active = "waiting"
        self.action_go(self._active)

    def on_pane_opened(self) -> None:
        self.action_show_job()

    def action_show_job(self) -> None:
        job_id = self._chosen_job()
        if job_id is not None:
            self.run_worker(self._show_job(job_id))

    async def _show_job(self, job_id: str) -> None:
        try:
            job = await self.watcher.client.job(job_id)
        except TidegateError as error:
            self.say(error.message, "bad")
        else:
            self.push_screen(JobScreen(job))

    def _chosen_job(self) -> str | None:
        if self._active in _JOB_PANES and self.pane.row is not None:
            return self.pane.row.key
        self.say("Choose a job first: 1 are those that run, 2 those that wait.", "warn")
        return None

    def action_cancel(self) -> None:
        if self._chosen_job() is not None:
            self.run_worker(self.give(orders.cancel(self.pane.document)))

    def action_pause(self) -> None:
        self._order("queues", orders.pause_or_resume, "Choose a queue first: key 4.")

    def action_drain(self) -> None:
        self._order("workers", orders.drain_or_resume, "Choose a worker first: key 3.")

    def action_acknowledge(self) -> None:
        if self._active == "health" and "alert_id" not in self.pane.document:
            self.say("This is no alert.", "warn")
            return
        self._order("health", orders.acknowledge, "Choose an alert first: key 5.")

    def _order(self, name: str, order: Callable[[Document], Order], otherwise: str) -> None:
        if self._active != name or self.pane.row is None:
            self.say(otherwise, "warn")
            return
        self.run_worker(self.give(order(self.pane.document)))

    async def give(self, order: Order) -> None:
        """Have something done, after a question where it asks one, and say how it went."""
        refusal = order.refusal(self.role)
        if self.away is not None:
            refusal = f"The server does not answer at the moment. {order.what} has to wait."
        if refusal:
            self.say(refusal, "warn")
            return
        if order.question and not await self.push_screen_wait(Question(order.question)):
            return
        try:
            await self.watcher.client.send(order.call)
        except TidegateError as error:
            self.say(error.message, "bad")
        else:
            self.say(order.done)
        self.look_now()
