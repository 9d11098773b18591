"""One picture as lines of plain text, for scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC

from tidegate.ui.tui.cells import ASCII, UNICODE, Cell, Glyphs, text_of
from tidegate.ui.tui.columns import Table, head_line, layout, row_line
from tidegate.ui.tui.history import History
from tidegate.ui.tui.picture import Picture
from tidegate.ui.tui.summary import machine_lines, server, state_line
from tidegate.ui.tui.tables import TABLES

WIDE = 10_000
"""Lines of text are not cut."""


def print_plainly(picture: Picture, glyphs: Glyphs) -> None:
    """Everything, one table below the other."""
    print("\n".join(plain_lines(picture, glyphs)), flush=True)


def plain_lines(picture: Picture, glyphs: Glyphs) -> Iterator[str]:
    history = History()
    history.add(picture)
    who = f"  {picture.owner}, {picture.role}" if picture.owner else ""
    yield f"{text_of(server(picture))}{who}  {picture.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    yield _line(state_line(picture, WIDE, glyphs))
    yield from map(_line, machine_lines(picture, history, 0, glyphs))
    for name in ("workers", "queues", "running", "waiting", "health"):
        yield ""
        yield from _table_lines(TABLES[name](picture, glyphs), glyphs)


def _table_lines(table: Table, glyphs: Glyphs) -> Iterator[str]:
    yield f"{table.title}: {table.note}" if table.note else table.title
    if not table.rows:
        yield f"  {table.empty}"
        return
    widths = layout(table, WIDE)
    for line in (
        head_line(table, widths, glyphs),
        *(row_line(table, row, widths, glyphs) for row in table.rows),
    ):
        yield f"  {_line(line)}"


def _line(spans: Cell) -> str:
    return text_of(spans).rstrip()


def glyphs_of_output(ascii_only: bool | None) -> Glyphs:
    """Those that standard output can take, unless told."""
    if ascii_only is None:
        ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    return ASCII if ascii_only else UNICODE
