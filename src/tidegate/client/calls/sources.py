"""The named data sets of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.client.call import Call
from tidegate.client.calls.parts import (
    API,
    SLOW_READ_S,
    as_document,
    as_nothing,
    as_rows,
    given,
    params_of,
    read,
    read_file,
    read_page,
    segment,
)
from tidegate.client.shapes import Document, Page, Rows


def _source(name: str) -> str:
    return f"{API}/sources/{segment(name)}"


def add(
    name: str,
    path: str,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> Call[Document]:
    """Register files on the server's machine under a name."""
    body = given(name=name, path=path, format=format, options=options, shared=shared or None)
    return Call("POST", f"{API}/sources", as_document, body=body, read_timeout_s=SLOW_READ_S)


def page(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of sources."""
    return read_page(f"{API}/sources", limit=limit, cursor=cursor)


def get(name: str) -> Call[Document]:
    """A source with its columns, size and origin."""
    return read(_source(name))


def delete(name: str) -> Call[None]:
    """Forget a source. Files that Tidegate made go with it; files of the user stay."""
    return Call("DELETE", _source(name), as_nothing)


def preview(name: str, limit: int, offset: int = 0) -> Call[Rows]:
    """A page of a source's rows."""
    path, params = f"{_source(name)}/preview", params_of(limit=limit, offset=offset)
    return Call("GET", path, as_rows, params, repeatable=True, read_timeout_s=SLOW_READ_S)


def download(name: str, format: str) -> Call[None]:
    """A whole source as a file, to be streamed."""
    return read_file(f"{_source(name)}/download", format)
