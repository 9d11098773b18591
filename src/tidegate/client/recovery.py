"""Safe mode and the quarantine, as an operator asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Recovery:
    """Safe mode of a service, and its tasks in quarantine; documents as docs/recovery.md shows them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def safe_mode(self) -> Document:
        """In which mode the service is, and why."""
        return self._connection.send(calls.recovery.safe_mode())

    def enter_safe_mode(self, reason: str = "") -> Document:
        """Start nothing and take nothing in until an operator ends it."""
        return self._connection.send(calls.recovery.enter_safe_mode(reason))

    def leave_safe_mode(self) -> Document:
        """Start everything again. Raises Conflict when the service is not in safe mode."""
        return self._connection.send(calls.recovery.leave_safe_mode())

    def quarantine(self) -> Iterator[Document]:
        """All tasks in quarantine, the newest job first."""
        return self._connection.pages(lambda cursor: calls.recovery.quarantine(cursor=cursor))

    def quarantined(self, task_id: str) -> Document:
        """One of them. Raises NotFound."""
        return self._connection.send(calls.recovery.quarantined(task_id))

    def release(self, task_id: str) -> Document:
        """Run it again, as a job of its own. Raises NotFound, and Conflict when it was released before."""
        return self._connection.send(calls.recovery.release(task_id))


class AsyncRecovery:
    """See `Recovery`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def safe_mode(self) -> Document:
        """In which mode the service is, and why."""
        return await self._connection.send(calls.recovery.safe_mode())

    async def enter_safe_mode(self, reason: str = "") -> Document:
        """Start nothing and take nothing in until an operator ends it."""
        return await self._connection.send(calls.recovery.enter_safe_mode(reason))

    async def leave_safe_mode(self) -> Document:
        """Start everything again. Raises Conflict when the service is not in safe mode."""
        return await self._connection.send(calls.recovery.leave_safe_mode())

    async def quarantine(self) -> AsyncIterator[Document]:
        """All tasks in quarantine, the newest job first."""
        async for document in self._connection.pages(lambda cursor: calls.recovery.quarantine(cursor=cursor)):
            yield document

    async def quarantined(self, task_id: str) -> Document:
        """One of them. Raises NotFound."""
        return await self._connection.send(calls.recovery.quarantined(task_id))

    async def release(self, task_id: str) -> Document:
        """Run it again, as a job of its own. Raises NotFound, and Conflict when it was released before."""
        return await self._connection.send(calls.recovery.release(task_id))
