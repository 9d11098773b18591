"""A table with a cursor, sorted as one likes, that fits whatever room there is."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from tidegate.ui.tui.cells import Glyphs, Span, width_of
from tidegate.ui.tui.columns import Row, Table, head_line, layout, row_line, sorted_rows
from tidegate.ui.tui.painted import Painted


class Pane(Painted, can_focus=True):
    """Shows one table. The cursor stays with its row while rows come and go around it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        # Here and not in the application: the screen has keys of these names that come before its own.
        Binding("tab", "app.go_on(1)", "Next table", show=False),
        Binding("shift+tab", "app.go_on(-1)", "Table before", show=False),
    ]
    DEFAULT_CSS = """
    Pane { height: 1fr; padding: 0 1; }
    """

    class Opened(Message):
        """Somebody wants to see more of a row."""

    def __init__(self, number: int, name: str, glyphs: Glyphs) -> None:
        super().__init__(id=name)
        self.number = number
        self.titled = True
        """Whether the title stands above; where tabs show it, it does not."""
        self.table = Table("", (), ())
        self._glyphs = glyphs
        self._rows: list[Row] = []
        self._cursor = 0
        self._top = 0
        self._sort: int | None = None
        self._descending = False

    @property
    def row(self) -> Row | None:
        """That of the cursor."""
        return self._rows[self._cursor] if self._rows else None

    def show(self, table: Table) -> None:
        """Show this table from now on."""
        key = self.row.key if self.row else None
        grown = len(table.rows) != len(self.table.rows)
        self.table = table
        self._rows = sorted_rows(table, self._sort, self._descending)
        places = {row.key: place for place, row in enumerate(self._rows)}
        self._put(places.get(key or "", self._cursor))
        self.refresh(layout=grown)

    def sort_by_next(self) -> str:
        """Sort by the next column; after the last one in the order of the server. Says what it is sorted by now."""
        last = len(self.table.columns) - 1
        following = 0 if self._sort is None else self._sort + 1
        self._sort = following if following <= last else None
        self._descending = self._sort is not None and self.table.columns[self._sort].descending
        self.show(self.table)
        return self._sorted_by() or "the order of the server"

    def sort_the_other_way(self) -> str:
        """The largest first in place of the smallest, or back."""
        self._descending = not self._descending
        self.show(self.table)
        return self._sorted_by() or "the order of the server"

    def _sorted_by(self) -> str:
        if self._sort is None:
            return ""
        mark = self._glyphs.down if self._descending else self._glyphs.up
        return f"{mark} {self.table.columns[self._sort].title}"

    def action_move(self, by: int) -> None:
        self._put(self._cursor + by)

    def action_page(self, pages: int) -> None:
        self._put(self._cursor + pages * max(self._room - 1, 1))

    def on_click(self, event: events.Click) -> None:
        place = self._top + event.y - self._head_height
        if event.y >= self._head_height and place < len(self._rows):
            self._put(place)
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.action_move(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.action_move(-1)

    def on_resize(self) -> None:
        self._put(self._cursor)

    @property
    def _head_height(self) -> int:
        return 2 if self.titled else 1

    @property
    def _room(self) -> int:
        """How many rows there is room for."""
        return max(self.size.height - self._head_height, 0)

    def _put(self, place: int) -> None:
        """Put the cursor on a row, and show it."""
        self._cursor = max(min(place, len(self._rows) - 1), 0)
        lowest = max(len(self._rows) - self._room, 0)
        self._top = min(max(min(self._top, self._cursor), self._cursor - self._room + 1, 0), lowest)
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._head_height + max(len(self._rows), 1)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0 and self.titled:
            return self._title(width)
        if not self._rows:
            told = (Span(f"  {self.table.empty}", "dim"),) if y == self._head_height - 1 else ()
            return self.painted(told, width)
        widths = layout(self.table, width - 2)
        if y < self._head_height:
            head = head_line(self.table, widths, self._glyphs, self._sort)
            return self.painted((Span("  "), *head), width)
        place = self._top + y - self._head_height
        if place >= len(self._rows):
            return self.painted((), width)
        line = row_line(self.table, self._rows[place], widths, self._glyphs)
        here = place == self._cursor and self.has_focus
        return self.painted((Span("  "), *line), width, under=self.cursor_style if here else None)

    def _title(self, width: int) -> Strip:
        name = Span(self.table.title, "accent" if self.has_focus else "strong")
        left = (Span(f"{self.number} ", "dim"), name, Span(f"  {self.table.note} ", "dim"))
        right = (Span(f" {told} ", "dim") for told in (self._sorted_by(), self._place()) if told)
        ends = (left, tuple(right))
        rule = max(width - sum(map(width_of, ends)), 0)
        line = Segment(self._glyphs.rule * rule, self.line_style)
        parts = [self.painted(end, width_of(end)) for end in ends]
        return Strip([*parts[0], line, *parts[1]]).adjust_cell_length(width, self.rich_style)

    def _place(self) -> str:
        """Which rows are seen, where that is not all of them."""
        if not 0 < self._room < len(self._rows):
            return ""
        return f"{self._top + 1} to {self._top + self._room} of {len(self._rows)}"

    def watch_has_focus(self, _has_focus: bool) -> None:
        super().watch_has_focus(_has_focus)
        self.refresh()

    @property
    def document(self) -> dict[str, Any]:
        """What the row of the cursor was made of; empty without one."""
        return self.row.document if self.row else {}
