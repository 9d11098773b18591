"""Queues and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, as_document, read, read_page, segment
from tidegate.client.shapes import Document, Page


def _queue(name: str) -> str:
    return f"{API}/queues/{segment(name)}"


def page(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of queues."""
    return read_page(f"{API}/queues", limit=limit, cursor=cursor)


def get(name: str) -> Call[Document]:
    """A queue with its settings and counts."""
    return read(_queue(name))


def change(name: str, settings: Mapping[str, Any]) -> Call[Document]:
    """Change a queue's settings; those not named stay."""
    return Call("PATCH", _queue(name), as_document, body=dict(settings), repeatable=True)


def pause(name: str, paused: bool) -> Call[Document]:
    """Pause a queue (nothing new starts, what runs goes on) or resume it."""
    return Call("POST", f"{_queue(name)}/{'pause' if paused else 'resume'}", as_document, repeatable=True)
