"""The pressure on servers and workers, and its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, as_document, read
from tidegate.client.shapes import Document


def now() -> Call[Document]:
    """The level of pressure of the server and of all workers, with their readings."""
    return read(f"{API}/pressure")


def rules() -> Call[Document]:
    """Which readings lead to which level, and what each level allows."""
    return read(f"{API}/pressure/rules")


def change_rules(changes: Mapping[str, Any]) -> Call[Document]:
    """Have this be what differs from the rules of the settings; nothing goes back to them."""
    return Call("PUT", f"{API}/pressure/rules", as_document, body=dict(changes), repeatable=True)
