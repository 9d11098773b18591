"""Alerts, their rules, silences and channels."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.client.call import DEFAULT_READ_S, Call
from tidegate.client.calls.parts import API, as_document, given, read, read_page, segment
from tidegate.client.shapes import Document, Page

_ALERTS = f"{API}/alerts"


def page(
    *, state: str | None = None, level: str | None = None, rule: str | None = None, cursor: str | None = None
) -> Call[Page]:
    """A page of alerts, the newest first."""
    return read_page(_ALERTS, state=state, level=level, rule=rule, cursor=cursor)


def get(alert_id: str) -> Call[Document]:
    """An alert with its history."""
    return read(f"{_ALERTS}/{segment(alert_id)}")


def acknowledge(alert_id: str, note: str) -> Call[Document]:
    """Say that it is seen. Doing so twice changes nothing."""
    path = f"{_ALERTS}/{segment(alert_id)}/acknowledge"
    return Call("POST", path, as_document, body={"note": note}, repeatable=True)


def silences(cursor: str | None = None) -> Call[Page]:
    """A page of the silences that have not ended."""
    return read_page(f"{_ALERTS}/silences", cursor=cursor)


def add_silence(minutes: float, rule: str | None, subject: str | None, reason: str) -> Call[Document]:
    """Keep quiet about something. Not sent again by itself: each time makes another."""
    body = given(minutes=minutes, rule=rule, subject=subject, reason=reason)
    return Call("POST", f"{_ALERTS}/silences", as_document, body=body)


def end_silence(silence_id: str) -> Call[Document]:
    """End one. Doing so twice changes nothing."""
    return Call("DELETE", f"{_ALERTS}/silences/{segment(silence_id)}", as_document, repeatable=True)


def rules(cursor: str | None = None) -> Call[Page]:
    """A page of the rules as they hold."""
    return read_page(f"{_ALERTS}/rules", cursor=cursor)


def change_rule(name: str, changes: Mapping[str, float | bool | None]) -> Call[Document]:
    """Change a rule; what is not named stays."""
    return Call("PATCH", f"{_ALERTS}/rules/{segment(name)}", as_document, body=dict(changes), repeatable=True)


def reset_rule(name: str) -> Call[Document]:
    """Put a rule back."""
    return Call("DELETE", f"{_ALERTS}/rules/{segment(name)}", as_document, repeatable=True)


def channels(cursor: str | None = None) -> Call[Page]:
    """A page of the channels."""
    return read_page(f"{_ALERTS}/channels", cursor=cursor)


def test_channel(name: str) -> Call[Document]:
    """Send a test message. The answer waits for the channel."""
    path = f"{_ALERTS}/channels/{segment(name)}/test"
    return Call("POST", path, as_document, read_timeout_s=3 * DEFAULT_READ_S)
