"""The pressure on servers and workers, and its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    from tidegate.client.aio import AsyncClient
    from tidegate.client.client import Client


class Pressure:
    """Levels and rules; documents as docs/overload.md shows them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def now(self) -> Document:
        """The level of the server and of all workers, with their readings."""
        return self._client.send(calls.pressure())

    def rules(self) -> Document:
        """The table in force, and what an operator has changed of it."""
        return self._client.send(calls.pressure_rules())

    def change_rules(self, changes: Mapping[str, Any]) -> Document:
        """Have what differs from the rules of the settings be this, and nothing else; the table then. Raises InvalidInput."""
        return self._client.send(calls.change_pressure_rules(changes))


class AsyncPressure:
    """See `Pressure`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def now(self) -> Document:
        """The level of the server and of all workers, with their readings."""
        return await self._client.send(calls.pressure())

    async def rules(self) -> Document:
        """The table in force, and what an operator has changed of it."""
        return await self._client.send(calls.pressure_rules())

    async def change_rules(self, changes: Mapping[str, Any]) -> Document:
        """Have what differs from the rules of the settings be this, and nothing else; the table then. Raises InvalidInput."""
        return await self._client.send(calls.change_pressure_rules(changes))
