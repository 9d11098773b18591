"""Tables that fit: which columns there is room for, and how wide each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len

from tidegate.ui.tui.cells import NOTHING, Cell, Glyphs, Span, fitted, width_of

GAP = 2
"""Columns of a terminal between two of a table."""


@dataclass(frozen=True, slots=True)
class Column:
    """`least` lets it be cut down to so many columns of a terminal where room is short; those with the highest `spare` are
    left out first, 0 never. `sort` names what rows are sorted by; `descending`: that the largest come first at first."""

    title: str
    right: bool = False
    least: int | None = None
    spare: int = 0
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """`key` names what the row shows. `order` has a value for each column to sort by, None last. `document` is its source."""

    key: str
    cells: Sequence[Cell]
    order: Sequence[Any]
    document: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """What a pane shows. `note` stands beside the title, `empty` in place of rows where there are none; `counted` is how many
    there are of what matters, where that is not the number of rows."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    empty: str = ""
    counted: int | None = None


def sorted_rows(table: Table, column: int | None, descending: bool) -> list[Row]:
    """Rows by a column, those without a value last; in their own order without one."""
    if column is None:
        return list(table.rows)
    known = [row for row in table.rows if row.order[column] is not None]
    unknown = [row for row in table.rows if row.order[column] is None]
    return sorted(known, key=lambda row: row.order[column], reverse=descending) + unknown


def layout(table: Table, width: int) -> list[tuple[int, int]]:
    """The columns that are shown, by index and width: as many as fit, at their full width where there is room. Those that
    say nothing are left out where they may be."""
    full = [_full_width(table, index) for index in range(len(table.columns))]
    shown = [index for index in range(len(table.columns)) if not _needless(table, index)]
    while sum(_least(table, index, full) for index in shown) + GAP * (len(shown) - 1) > width:
        spare = max(shown, key=lambda index: (table.columns[index].spare, index))
        if not table.columns[spare].spare:
            break
        shown.remove(spare)
    room = width - GAP * (len(shown) - 1) - sum(_least(table, index, full) for index in shown)
    widths = []
    for index in shown:
        least = _least(table, index, full)
        more = min(full[index] - least, max(room, 0))
        room -= more
        widths.append((index, least + more))
    return widths


def _needless(table: Table, index: int) -> bool:
    """Whether a column that may be left out has nothing to say."""
    return bool(table.columns[index].spare) and all(row.cells[index] in ((), NOTHING) for row in table.rows)


def _full_width(table: Table, index: int) -> int:
    return max(cell_len(table.columns[index].title), *(width_of(row.cells[index]) for row in table.rows), 0)


def _least(table: Table, index: int, full: Sequence[int]) -> int:
    least = table.columns[index].least
    return full[index] if least is None else min(least, full[index])


def head_line(
    table: Table, widths: Sequence[tuple[int, int]], glyphs: Glyphs, sorted_by: int | None = None
) -> Cell:
    """The titles; that of the column that rows are sorted by stands out."""
    spans: list[Span] = []
    for index, width in widths:
        column = table.columns[index]
        title = (Span(column.title, "strong" if index == sorted_by else "dim"),)
        spans += [*fitted(title, width, glyphs.more, right=column.right), Span(" " * GAP)]
    return tuple(spans[:-1])


def row_line(table: Table, row: Row, widths: Sequence[tuple[int, int]], glyphs: Glyphs) -> Cell:
    spans: list[Span] = []
    for index, width in widths:
        spans += [
            *fitted(row.cells[index], width, glyphs.more, right=table.columns[index].right),
            Span(" " * GAP),
        ]
    return tuple(spans[:-1])
