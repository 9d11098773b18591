"""API keys and the audit trail, as admins and operators reach them over HTTP; both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Keys:
    """The API keys of a server; for admins."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self, owner: str, role: str, *, name: str = "", expires_in_days: float | None = None
    ) -> Document:
        """Make a key. Its text stands in `key` of the answer, and nowhere else ever."""
        return self._connection.send(calls.keys.create(owner, role, name, expires_in_days))

    def list(self) -> Iterator[Document]:
        """All keys, also those that open nothing any more."""
        return self._connection.pages(lambda cursor: calls.keys.page(cursor=cursor))

    def revoke(self, key_id: str) -> Document:
        """It opens nothing any more. Raises NotFound."""
        return self._connection.send(calls.keys.revoke(key_id))


class AsyncKeys:
    """The API keys of a server. See `Keys`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self, owner: str, role: str, *, name: str = "", expires_in_days: float | None = None
    ) -> Document:
        """Make a key. Its text stands in `key` of the answer, and nowhere else ever."""
        return await self._connection.send(calls.keys.create(owner, role, name, expires_in_days))

    async def list(self) -> AsyncIterator[Document]:
        """All keys, also those that open nothing any more."""
        async for document in self._connection.pages(lambda cursor: calls.keys.page(cursor=cursor)):
            yield document

    async def revoke(self, key_id: str) -> Document:
        """It opens nothing any more. Raises NotFound."""
        return await self._connection.send(calls.keys.revoke(key_id))
