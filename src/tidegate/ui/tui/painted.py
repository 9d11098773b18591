"""Widgets that draw lines of cells themselves, so that nothing is laid out again while only figures change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from tidegate.ui.tui.cells import Cell, Span, Tone

_TONES: tuple[Tone, ...] = ("plain", "dim", "strong", "accent", "good", "warn", "bad")


class Painted(Widget):
    """Knows how each tone looks in the theme of the moment."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"tone--{tone}" for tone in _TONES),
        "tone--line",
        "tone--cursor",
    }
    DEFAULT_CSS = """
    Painted {
        & > .tone--dim { color: $soft; }
        & > .tone--strong { text-style: bold; }
        & > .tone--accent { color: $accent; }
        & > .tone--good { color: $success; }
        & > .tone--warn { color: $warning; text-style: bold; }
        & > .tone--bad { color: $error; text-style: bold; }
        & > .tone--line { color: $line; }
        & > .tone--cursor { background: $cursor; }
        &:ansi > .tone--dim, &:ansi > .tone--line { text-style: dim; }
        &:ansi > .tone--cursor { text-style: reverse; }
    }
    """

    def painted(self, spans: Iterable[Span], width: int, *, under: Style | None = None) -> Strip:
        """A line of this width. `under` lies below all of it, as the cursor does."""
        base = self.rich_style + under if under is not None else self.rich_style
        segments = [Segment(span.text, self._style(f"tone--{span.tone}", base)) for span in spans]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, name: str, base: Style) -> Style:
        tone = self.get_component_rich_style(name, partial=True)
        return base + tone if base.bgcolor is None else base + tone + Style(bgcolor=base.bgcolor)

    @property
    def cursor_style(self) -> Style:
        return self.get_component_rich_style("tone--cursor", partial=True)

    @property
    def line_style(self) -> Style:
        return self._style("tone--line", self.rich_style)


class Lines(Painted):
    """Some lines, one below the other."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Cell] = ()

    def show(self, lines: Sequence[Cell]) -> None:
        """Show these. Where their number is another one, room is made for it."""
        grown = len(lines) != len(self._lines)
        self._lines = lines
        self.refresh(layout=grown)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else ()
        return self.painted(line, self.size.width)
