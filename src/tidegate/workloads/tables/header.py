"""Finds the header row among a sheet's first rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.workloads.tables.cells import DATE, ERROR, TEXT, Row, plain_text
from tidegate.workloads.tables.model import HeaderRow

LOOKED_AT = 30
"""Rows with values in which a header is sought; titles and notes above a table are fewer."""


def header_row(head: Sequence[Row], wanted: HeaderRow) -> int | None:
    """The header's row, given the first rows that have values; None where there is none.

    Found by itself: the first row that is nearly as wide as the rows below (titles are narrow) and is all text. If that row
    holds anything else than text, it is a row of data and there is no header.
    """
    if wanted == "none":
        return None
    if isinstance(wanted, int):
        return wanted
    widths = [_filled(cells) for _, cells in head]
    if not widths:
        return None
    usual = sorted(widths[len(widths) // 2 :])[(len(widths) - len(widths) // 2) // 2]
    for (number, cells), width in zip(head, widths, strict=True):
        if width >= max(1, min(usual, max(widths)) * 0.6):
            return number if _is_header(cells) else None
    return None


def headers(
    cells: Sequence[str], row: int, width: int, merged: Iterable[tuple[int, int, int, int]]
) -> list[str]:
    """The header's texts for `width` columns; a merged one stands in each column that it covers."""
    texts = [plain_text(cell) for cell in cells] + [""] * (width - len(cells))
    for top, left, bottom, right in merged:
        if top <= row <= bottom and left < width:
            for place in range(left + 1, min(right + 1, width)):
                texts[place] = texts[place] or texts[left]
    return texts


def _filled(cells: Sequence[str]) -> int:
    return sum(1 for cell in cells if cell)


def _is_header(cells: Sequence[str]) -> bool:
    """Texts; a year among them (`2023`, `2024`) does not make it data, a date or an error does."""
    filled = [cell for cell in cells if cell]
    texts = [cell for cell in filled if cell.startswith(TEXT)]
    years = [cell for cell in filled if cell.isdigit() and 1900 <= int(cell[:9]) <= 2199]
    return (
        bool(texts)
        and len(texts) + len(years) == len(filled)
        and not any(c[0] in (DATE, ERROR) for c in filled)
    )
