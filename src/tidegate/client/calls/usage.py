"""Who used how much, and what the machines felt."""

from __future__ import annotations

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, Time, as_document, params_of, read_page, times_of
from tidegate.client.shapes import Document, Page


def page(
    by: str,
    since: Time,
    until: Time,
    owner: str | None,
    *,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Document]:
    """A page of who used how much, with the total."""
    params = params_of(by=by, owner=owner, limit=limit, cursor=cursor, **times_of(since, until))
    return Call("GET", f"{API}/usage", as_document, params, repeatable=True)


def resources(
    since: Time, until: Time, step_s: int | None, place: str | None, *, cursor: str | None = None
) -> Call[Page]:
    """A page of what the machines felt."""
    return read_page(
        f"{API}/usage/resources", step=step_s, place=place, cursor=cursor, **times_of(since, until)
    )
