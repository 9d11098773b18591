"""Safe mode and quarantine."""

from __future__ import annotations

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, as_document, read, read_page, segment
from tidegate.client.shapes import Document, Page


def safe_mode() -> Call[Document]:
    """In which mode the service is."""
    return read(f"{API}/safe-mode")


def enter_safe_mode(reason: str) -> Call[Document]:
    """Start nothing and take nothing in until an operator ends it."""
    return Call("POST", f"{API}/safe-mode/enter", as_document, body={"reason": reason}, repeatable=True)


def leave_safe_mode() -> Call[Document]:
    """Start everything again."""
    return Call("POST", f"{API}/safe-mode/leave", as_document)


def quarantine(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of the tasks in quarantine."""
    return read_page(f"{API}/quarantine", limit=limit, cursor=cursor)


def quarantined(task_id: str) -> Call[Document]:
    """A task in quarantine, with its attempts."""
    return read(f"{API}/quarantine/{segment(task_id)}")


def release(task_id: str) -> Call[Document]:
    """Run it again, as a job of its own."""
    return Call("POST", f"{API}/quarantine/{segment(task_id)}/release", as_document)
