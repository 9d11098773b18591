"""API keys and the audit trail, as admins and operators reach them over HTTP; both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    from tidegate.client.aio import AsyncClient
    from tidegate.client.client import Client


class Keys:
    """The API keys of a server; for admins."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self, owner: str, role: str, *, name: str = "", expires_in_days: float | None = None
    ) -> Document:
        """Make a key. Its text stands in `key` of the answer, and nowhere else ever."""
        return self._client.send(calls.create_key(owner, role, name, expires_in_days))

    def list(self) -> Iterator[Document]:
        """All keys, also those that open nothing any more."""
        return self._client.pages(lambda cursor: calls.keys(cursor=cursor))

    def revoke(self, key_id: str) -> Document:
        """It opens nothing any more. Raises NotFound."""
        return self._client.send(calls.revoke_key(key_id))


class AsyncKeys:
    """The API keys of a server. See `Keys`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self, owner: str, role: str, *, name: str = "", expires_in_days: float | None = None
    ) -> Document:
        """Make a key. Its text stands in `key` of the answer, and nowhere else ever."""
        return await self._client.send(calls.create_key(owner, role, name, expires_in_days))

    async def list(self) -> AsyncIterator[Document]:
        """All keys, also those that open nothing any more."""
        async for document in self._client.pages(lambda cursor: calls.keys(cursor=cursor)):
            yield document

    async def revoke(self, key_id: str) -> Document:
        """It opens nothing any more. Raises NotFound."""
        return await self._client.send(calls.revoke_key(key_id))
