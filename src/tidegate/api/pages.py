"""Lists in pages: `{"items": [...], "next_cursor": ...}`, the cursor a text that only this list understands."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.responses import JSONResponse

from tidegate.api.problems import Refusal
from tidegate.server.service import Service

T = TypeVar("T")

MOST_ITEMS = 1000
Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="Most items of this page.")]


def most_now(service: Service, limit: int) -> int:
    """The limit, or less: under pressure pages are short. What is left out follows with the next page."""
    most = service.pressure.overload.allowed().most_page
    return limit if most is None else min(limit, most)


Cursor = Annotated[
    str | None,
    Query(max_length=400, description="`next_cursor` of the page before; left out for the first page."),
]


def encode_cursor(list_name: str, place: object) -> str:
    return base64.urlsafe_b64encode(f"{list_name}:{place}".encode()).decode().rstrip("=")


def decode_cursor(list_name: str, cursor: str) -> str:
    """The place that `encode_cursor` was given. Raises `bad_cursor` for what was not made by it for this list."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    name, _, place = text.partition(":")
    if name != list_name or not place:
        raise Refusal(
            "bad_cursor",
            f"cursor: {cursor!r:.80} is no cursor of this list. Take `next_cursor` of the page before.",
            numbers={"field": "cursor"},
        )
    return place


def decode_number(list_name: str, cursor: str | None, start: int) -> int:
    """The place of a cursor whose places are ids; `start` without a cursor."""
    if cursor is None:
        return start
    place = decode_cursor(list_name, cursor)
    if not (place.isascii() and place.isdigit() and len(place) < 19):
        decode_cursor(list_name, "")
    return int(place)


def page(
    records: Sequence[T], limit: int, list_name: str, place: Callable[[T], object], show: Callable[[T], Any]
) -> JSONResponse:
    """A page of records that were read with a limit one higher than the page's, to know whether more follow."""
    shown = records[:limit]
    following = encode_cursor(list_name, place(shown[-1])) if len(records) > limit else None
    return JSONResponse({"items": [show(record) for record in shown], "next_cursor": following})
