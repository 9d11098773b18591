"""Answers as CSV (RFC 4180), such as spreadsheets open."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

MEDIA_TYPE = "text/csv; charset=utf-8"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell starts with that spreadsheets take for a formula."""


class ListFormat(StrEnum):
    """How a list is answered."""

    JSON = "json"
    CSV = "csv"


Format = Annotated[
    ListFormat,
    Query(
        description="`csv`: the items as lines, and where there are more, the next page as a `Link` header."
    ),
]


def csv_line(values: Iterable[object]) -> str:
    """One line; a text that a spreadsheet would run as a formula is marked as text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(_cell(value) for value in values)
    return buffer.getvalue()


def csv_page(
    request: Request, names: Sequence[str], items: Iterable[Mapping[str, Any]], next_cursor: str | None
) -> Response:
    """A page of a list: its items in these columns. Unknown values are empty."""
    lines = [csv_line(names), *(csv_line(item.get(name) for name in names) for item in items)]
    headers = {}
    if next_cursor is not None:
        url = request.url.include_query_params(cursor=next_cursor)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response("".join(lines), headers=headers, media_type=MEDIA_TYPE)


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
