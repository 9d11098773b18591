"""Keeps secrets out of what is written down: whatever looks like one becomes `***`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MASK", "masked"]

MASK = "***"
_KEY = re.compile(r"authori[sz]ation|api[-_]?key|passw(or)?d|secret|cookie|(^|_)token$", re.IGNORECASE)
_TEXT = re.compile(
    r"(?P<before>(?:authori[sz]ation|api[-_]?key|passw(?:or)?d|secret(?:[-_]\w+)*|cookie|token)[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?"
    r"|\bbearer\s+)(?P<secret>[^\s\"',;&]+)"
    r"|(?P<user>://[^\s/:@]*:)[^\s/]+(?=@)"  # up to the last @ before the path: a password may hold one
    r"|\b(?P<ours>tg_)[0-9a-f]{6,}_[\w-]{8,}",  # our own keys
    re.IGNORECASE,
)


def masked(name: str, value: Any) -> Any:
    """The value of a field as it may be seen: None, a number, a text, or lists and tables of these."""
    if _KEY.search(name):
        return MASK
    if isinstance(value, str):
        return _TEXT.sub(lambda found: f"{found['before'] or found['user'] or found['ours']}{MASK}", value)
    if isinstance(value, Mapping):
        return {str(key): masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked("", item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return masked(name, str(value))  # such as an error, whose text may name a URL with its password
