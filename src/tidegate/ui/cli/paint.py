"""Drawing for a terminal, with Rich. Colours follow NO_COLOR and what the terminal can do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
    "paused": "yellow",
    "works": "green",
    "ok": "green",
    "in use": "bold green",
    "no": "yellow",
    "missing": "red",
}


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: frozenset[int],
    title: str | None,
) -> None:
    """A table that fits the terminal: long cells are folded."""
    drawn = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for index, header in enumerate(headers):
        drawn.add_column(
            Text(header),
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=index == 0 < len(headers) - 1,
        )
    for row in rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "dim" if cell == "-" else "")) for cell in row))
    console = Console(highlight=False)
    if title:
        console.print(Text(title, style="bold"))
    console.print(drawn)


def facts(known: Sequence[tuple[str, str]], title: str | None) -> None:
    """Names and values in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in known:
        grid.add_row(Text(name), Text(value, style=_STYLES.get(value, "")))
    console = Console(highlight=False)
    if title:
        console.print(Text(title, style="bold"))
    console.print(grid)
