"""A cell as staged text: one character for its kind, then its value; a number stands as it is, an empty cell is empty.

Readers write cells so, DuckDB reads them back in bulk, and `column_types` decides what they become when all have been seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Literal, Protocol

TEXT = "'"
BOOLEAN = "b"
"""Then 1 or 0."""
DATE = "d"
"""Then days as the file counts them, with the time of day behind the point."""
DURATION = "u"
"""Then days."""
ERROR = "e"
"""Then the error as the spreadsheet shows it."""

SEPARATOR = "\x1f"
ESCAPE = "\x1c"
_ESCAPED = {"\n": "n", "\r": "r", SEPARATOR: "s", ESCAPE: "e", "\0": "0"}
_TO_ESCAPE = re.compile("[\n\r\x1c\x1f\0]")

DateSystem = Literal["1900", "1904", "plain"]
"""1900: with the day that never was, 29 February 1900, as Excel counts; 1904: from 1 January 1904; plain: from
30 December 1899."""


def text_cell(text: str) -> str:
    """The empty text is an empty cell: a reader of binary workbooks cannot tell them apart."""
    if not text:
        return ""
    if _TO_ESCAPE.search(text):
        text = _TO_ESCAPE.sub(lambda found: ESCAPE + _ESCAPED[found[0]], text)
    return TEXT + text


def plain_text(cell: str) -> str:
    """What stands in a text cell, undone; of other cells their value."""
    if not cell.startswith(TEXT):
        return cell[1:] if cell[:1] in (BOOLEAN, DATE, DURATION, ERROR) else cell
    back = {letter: mark for mark, letter in _ESCAPED.items()}
    return re.sub(f"{ESCAPE}(.)", lambda found: back[found[1]], cell[1:])


def unescaped_sql(text: str) -> str:
    """SQL that undoes the escapes in the SQL expression `text`."""
    undone = text
    for mark, letter in (("\n", "n"), ("\r", "r"), (SEPARATOR, "s"), ("\ufffd", "0"), (ESCAPE, "e")):
        undone = f"replace({undone}, chr(28) || '{letter}', chr({ord(mark)}))"
    return f"CASE WHEN contains({text}, chr(28)) THEN {undone} ELSE {text} END"


def escaped_sql(text: str) -> str:
    """SQL that escapes the SQL expression `text` as `text_cell` does."""
    escaped = text
    for mark, letter in ((ESCAPE, "e"), ("\n", "n"), ("\r", "r"), (SEPARATOR, "s")):
        escaped = f"replace({escaped}, chr({ord(mark)}), chr(28) || '{letter}')"
    return escaped


Row = tuple[int, list[str]]
"""The row's number in the file, from 1, and its staged cells from the first column on."""


class RowSource(Protocol):
    """One sheet that is being read. Rows without values may be left out."""

    name: str
    date_system: DateSystem

    def rows(self) -> Iterator[Row]: ...

    def share(self) -> float:
        """Of the sheet read so far, 0 to 1."""
        ...

    def merged(self) -> list[tuple[int, int, int, int]]:
        """First row, first column, last row, last column (rows from 1, columns from 0); complete when all rows are read."""
        ...


_FIRST_DAY = datetime(1899, 12, 30)  # noqa: DTZ001  spreadsheets know no time zones


def serial(moment: datetime | date | time | timedelta, system: DateSystem) -> str:
    """Days as a file of this system counts them; the inverse of what `column_types` makes of a date cell."""
    if isinstance(moment, time):
        moment = datetime.combine(_FIRST_DAY, moment) - _FIRST_DAY
    if isinstance(moment, timedelta):
        return repr(moment / timedelta(days=1))
    at = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001
    days = (at.replace(tzinfo=None) - _FIRST_DAY) / timedelta(days=1)
    if system == "1904":
        days -= 1462
    elif system == "1900" and days < 61:
        days -= 1
    return repr(days)
