"""The pressure on servers and workers, and its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Pressure:
    """Levels and rules; documents as docs/overload.md shows them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def now(self) -> Document:
        """The level of the server and of all workers, with their readings."""
        return self._connection.send(calls.pressure.now())

    def rules(self) -> Document:
        """The table in force, and what an operator has changed of it."""
        return self._connection.send(calls.pressure.rules())

    def change_rules(self, changes: Mapping[str, Any]) -> Document:
        """Have what differs from the rules of the settings be this, and nothing else; the table then. Raises InvalidInput."""
        return self._connection.send(calls.pressure.change_rules(changes))


class AsyncPressure:
    """See `Pressure`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> Document:
        """The level of the server and of all workers, with their readings."""
        return await self._connection.send(calls.pressure.now())

    async def rules(self) -> Document:
        """The table in force, and what an operator has changed of it."""
        return await self._connection.send(calls.pressure.rules())

    async def change_rules(self, changes: Mapping[str, Any]) -> Document:
        """Have what differs from the rules of the settings be this, and nothing else; the table then. Raises InvalidInput."""
        return await self._connection.send(calls.pressure.change_rules(changes))
