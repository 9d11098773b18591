"""Keys, who a key belongs to, and the audit trail."""

from __future__ import annotations

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, Time, as_document, given, read, read_page, segment, times_of
from tidegate.client.shapes import Document, Page


def whoami() -> Call[Document]:
    """Owner and role of the key that is sent."""
    return read(f"{API}/whoami")


def page(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of keys."""
    return read_page(f"{API}/keys", limit=limit, cursor=cursor)


def create(owner: str, role: str, name: str, expires_in_days: float | None) -> Call[Document]:
    """Make a key. Not sent again by itself: each time makes another."""
    body = given(owner=owner, role=role, name=name or None, expires_in_days=expires_in_days)
    return Call("POST", f"{API}/keys", as_document, body=body)


def revoke(key_id: str) -> Call[Document]:
    """Let a key open nothing any more. Asking twice changes nothing."""
    return Call("DELETE", f"{API}/keys/{segment(key_id)}", as_document, repeatable=True)


def audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    object: str | None = None,
    since: Time = None,
    until: Time = None,
    cursor: str | None = None,
) -> Call[Page]:
    """A page of the audit trail, the newest first."""
    times = times_of(since, until)
    return read_page(f"{API}/audit", actor=actor, action=action, object=object, cursor=cursor, **times)
