"""Files on their way to the server, and a look into one that is to be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, SLOW_READ_S, as_document, given, params_of, segment
from tidegate.client.shapes import Document


def preview(file: str, sheet: str | int | None, rows: int, options: Mapping[str, Any]) -> Call[Document]:
    """A look at a file that is to be loaded. It only reads, so it may be sent again."""
    body = {**given(file=file, sheet=sheet, rows=rows), **options}
    path = f"{API}/ingest/preview"
    return Call("POST", path, as_document, body=body, repeatable=True, read_timeout_s=SLOW_READ_S)


def upload(
    file_name: str, size_bytes: int, source_name: str | None, overwrite: bool, shared: bool = False
) -> Call[Document]:
    """Send a file's bytes; they become a source named `source_name`, or after the file."""
    return Call(
        "PUT",
        f"{API}/files/{segment(file_name)}",
        as_document,
        params_of(
            source_name=source_name,
            overwrite="true" if overwrite else None,
            shared="true" if shared else None,
        ),
        headers={"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"},
        read_timeout_s=SLOW_READ_S,
    )


def send(name: str, size_bytes: int) -> Call[Document]:
    """Send a file's bytes, to be named by a job; they become no source."""
    call = upload(name, size_bytes, None, overwrite=False)
    return replace(call, params={**call.params, "source": "false"})
