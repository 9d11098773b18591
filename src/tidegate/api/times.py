"""Parameters that say from when to when."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import Query

from tidegate.errors import InvalidInput

_YEARS = range(1970, 9000)
From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=40,
        description="A day, or an instant with its zone, such as `2026-01-31T08:00:00Z`.",
    ),
]
To = Annotated[
    str | None, Query(alias="to", max_length=40, description="As `from`; what happens then is no part.")
]


def time_of(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """The two instants, None where nothing is said. Raises InvalidInput, also when the second is not after the first."""
    first, last = _instant("from", since), _instant("to", until)
    if first is not None and last is not None and first >= last:
        raise InvalidInput(f"to: {until!r} is not after {since!r}.", numbers={"field": "to"})
    return first, last


def _instant(field: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = _parsed(text)
    except (ValueError, OverflowError):
        found = None
    if found is None or found.year not in _YEARS:
        raise InvalidInput(
            f"{field} must be a day such as 2026-01-31, or an instant with its zone such as 2026-01-31T08:00:00Z, not "
            f"{text!r}.",
            numbers={"field": field},
        )
    return found


def _parsed(text: str) -> datetime | None:
    """A day begins at midnight in UTC. None for an instant without a zone."""
    if len(text) <= len("2026-01-31"):
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else None
