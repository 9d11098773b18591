"""Safe mode and the quarantine, as an operator asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    from tidegate.client.aio import AsyncClient
    from tidegate.client.client import Client


class Recovery:
    """Safe mode of a service, and its tasks in quarantine; documents as docs/recovery.md shows them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def safe_mode(self) -> Document:
        """In which mode the service is, and why."""
        return self._client.send(calls.safe_mode())

    def enter_safe_mode(self, reason: str = "") -> Document:
        """Start nothing and take nothing in until an operator ends it."""
        return self._client.send(calls.enter_safe_mode(reason))

    def leave_safe_mode(self) -> Document:
        """Start everything again. Raises Conflict when the service is not in safe mode."""
        return self._client.send(calls.leave_safe_mode())

    def quarantine(self) -> Iterator[Document]:
        """All tasks in quarantine, the newest job first."""
        return self._client.pages(lambda cursor: calls.quarantine(cursor=cursor))

    def quarantined(self, task_id: str) -> Document:
        """One of them. Raises NotFound."""
        return self._client.send(calls.quarantined(task_id))

    def release(self, task_id: str) -> Document:
        """Run it again, as a job of its own. Raises NotFound, and Conflict when it was released before."""
        return self._client.send(calls.release_quarantined(task_id))


class AsyncRecovery:
    """See `Recovery`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def safe_mode(self) -> Document:
        """In which mode the service is, and why."""
        return await self._client.send(calls.safe_mode())

    async def enter_safe_mode(self, reason: str = "") -> Document:
        """Start nothing and take nothing in until an operator ends it."""
        return await self._client.send(calls.enter_safe_mode(reason))

    async def leave_safe_mode(self) -> Document:
        """Start everything again. Raises Conflict when the service is not in safe mode."""
        return await self._client.send(calls.leave_safe_mode())

    async def quarantine(self) -> AsyncIterator[Document]:
        """All tasks in quarantine, the newest job first."""
        async for document in self._client.pages(lambda cursor: calls.quarantine(cursor=cursor)):
            yield document

    async def quarantined(self, task_id: str) -> Document:
        """One of them. Raises NotFound."""
        return await self._client.send(calls.quarantined(task_id))

    async def release(self, task_id: str) -> Document:
        """Run it again, as a job of its own. Raises NotFound, and Conflict when it was released before."""
        return await self._client.send(calls.release_quarantined(task_id))
