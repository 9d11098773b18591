"""What the calls of all resources are made of: paths, parameters, readers of answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from tidegate.client.call import DEFAULT_READ_S, Call, Reply
from tidegate.client.shapes import Document, Page, Rows
from tidegate.errors import TidegateError

API = "/api/v1"

Time: TypeAlias = datetime | str | None
"""An aware instant, or its text, or a day such as `2026-01-31`; None: not said."""

SLOW_READ_S = 600.0
"""For requests whose answer waits for work on whole files: registering, previews, downloads."""


def as_document(reply: Reply) -> Document:
    """The answer as a mapping. Raises TidegateError when it is none."""
    answer = reply.json()
    if not isinstance(answer, dict):
        raise TidegateError("The answer has an unknown shape; is this the address of a Tidegate server?")
    return answer


def as_nothing(reply: Reply) -> None:
    """For answers without a body, and for those that are streamed."""


def as_page(reply: Reply) -> Page:
    """The answer as a page of a list."""
    answer = as_document(reply)
    return Page(tuple(answer.get("items", ())), answer.get("next_cursor"))


def as_rows(reply: Reply) -> Rows:
    """The answer as rows with their columns."""
    return Rows.from_document(as_document(reply))


def read(path: str, *, read_timeout_s: float = DEFAULT_READ_S, **params: object) -> Call[Document]:
    """GET a document. Parameters that are None are left out."""
    return Call("GET", path, as_document, params_of(**params), repeatable=True, read_timeout_s=read_timeout_s)


def read_page(path: str, **params: object) -> Call[Page]:
    """GET a page of a list. Parameters that are None are left out."""
    return Call("GET", path, as_page, params_of(**params), repeatable=True)


def read_file(path: str, format: str) -> Call[None]:
    """GET a file, to be streamed."""
    return Call("GET", path, as_nothing, {"format": format}, repeatable=True, read_timeout_s=SLOW_READ_S)


def given(**fields: Any) -> dict[str, Any]:
    """The fields of a body that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def params_of(**fields: object) -> dict[str, str]:
    """Parameters of the address: as text, without those that are None."""
    return {name: str(value) for name, value in fields.items() if value is not None}


def times_of(since: Time, until: Time) -> dict[str, str | None]:
    """`from` and `to`, which are no names in Python."""
    told = (at.isoformat() if isinstance(at, datetime) else at for at in (since, until))
    return dict(zip(("from", "to"), told, strict=True))


def segment(text: str) -> str:
    """Text as one segment of a path, whatever stands in it."""
    return quote(text, safe="")
