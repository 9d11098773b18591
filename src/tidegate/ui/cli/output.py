"""What goes to standard output: tables (drawn on a terminal, plain in a pipe), rows in several formats, JSON."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import Any

from tidegate.core.resources import format_bytes
from tidegate.ui.cli.options import RowFormat

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {9: " ", 10: "⏎", 13: ""}
NOTHING = "-"
_LEAST_CUT = 12
_GAP = 3
"""Columns between two of a drawn table."""


def print_json(value: Any) -> None:
    """One JSON document: indented for a reader on a terminal, on one line in a pipe."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, indent=indent, ensure_ascii=False, default=json_value), flush=True)


def json_value(value: Any) -> Any:
    """JSON for the Python values of rows: exact numbers and instants as text, bytes as hexadecimal text."""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def clean(value: Any) -> str:
    """One line of text that cannot command a terminal, whatever a user's data holds."""
    return NOTHING if value is None else str(value).translate(_CONTROL)


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Iterable[int] = (),
    cut: int | None = None,
    title: str | None = None,
) -> None:
    """A table. `right`: the columns whose values stand at their right end; `cut`: the one that may lose its end to fit."""
    if not headers:
        return
    cells = [[clean(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        if cut is not None:
            _shorten(headers, cells, cut)
        _painter().table(headers, cells, frozenset(right), title)
        return
    if title:
        print(title)
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for line in (headers, *cells):
        aligned = [_aligned(text, widths[index], index in right) for index, text in enumerate(line)]
        print("  ".join(aligned).rstrip())


def _shorten(headers: Sequence[str], cells: Sequence[list[str]], index: int) -> None:
    """Cut one column's texts so that the table fits the terminal."""
    others = sum(
        max(map(len, column)) for i, column in enumerate(zip(headers, *cells, strict=True)) if i != index
    )
    width = max(terminal_columns() - others - _GAP * (len(headers) - 1), _LEAST_CUT)
    for row in cells:
        row[index] = row[index] if len(row[index]) <= width else row[index][: width - 1] + "…"


def terminal_columns() -> int:
    """The width of the terminal."""
    return shutil.get_terminal_size().columns


def _aligned(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def print_facts(facts: Iterable[tuple[str, Any]], *, title: str | None = None) -> None:
    """Names and values, one a line; those without a value are left out."""
    known = [(name, clean(value)) for name, value in facts if value is not None]
    if sys.stdout.isatty():
        _painter().facts(known, title)
        return
    if title:
        print(title)
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{name.ljust(width)}  {value}")


def _painter() -> Any:
    """Rich takes 100 ms to load; only a reader on a terminal is asked to wait for it."""
    return import_module("tidegate.ui.cli.paint")


def print_rows(columns: Sequence[tuple[str, str]], rows: Iterable[dict[str, Any]], format: RowFormat) -> None:
    """Rows in a format; all but the table are written as they come."""
    names = [name for name, _ in columns]
    if format is RowFormat.TABLE:
        numbers = [index for index, (_, type_text) in enumerate(columns) if _is_number(type_text)]
        print_table(names, [[row.get(name) for name in names] for row in rows], right=numbers)
    elif format is RowFormat.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row.get(name) for name in names] for row in rows)
    elif format is RowFormat.JSONL:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False, default=json_value))
    else:
        print_json(list(rows))


def _is_number(type_text: str) -> bool:
    name = type_text.partition("(")[0].upper()
    return name.endswith("INT") or name in ("INTEGER", "DOUBLE", "FLOAT", "DECIMAL")


def size(amount: Any) -> str | None:
    """Bytes for people; None stays None."""
    return None if amount is None else format_bytes(int(amount))


def count(number: Any, noun: str) -> str:
    """`1 row`, `12,345 rows`, `an unknown number of rows`."""
    if number is None:
        return f"an unknown number of {noun}s"
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str | None:
    """Seconds for people: `0.82 s`, `12 s`, `3 min 5 s`, `2 h 4 min`."""
    if seconds is None:
        return None
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0.01 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
