"""The queues of a server; both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from tidegate.client import calls
from tidegate.client.views import Queue

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Queues:
    """The queues of a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Iterator[Queue]:
        """All queues."""
        return map(Queue, self._connection.pages(lambda cursor: calls.queues.page(cursor=cursor)))

    def get(self, name: str) -> Queue:
        """A queue with its settings and counts. Raises NotFound."""
        return Queue(self._connection.send(calls.queues.get(name)))

    def set(self, name: str, **settings: Any) -> Queue:
        """Change `max_concurrent` (None: no cap), `weight` or `paused`; what is left out stays."""
        return Queue(self._connection.send(calls.queues.change(name, settings)))

    def pause(self, name: str) -> Queue:
        """Start nothing new from it; what runs goes on."""
        return Queue(self._connection.send(calls.queues.pause(name, True)))

    def resume(self, name: str) -> Queue:
        """Start from it again."""
        return Queue(self._connection.send(calls.queues.pause(name, False)))


class AsyncQueues:
    """The queues of a server. See `Queues`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list(self) -> AsyncIterator[Queue]:
        """All queues."""
        async for document in self._connection.pages(lambda cursor: calls.queues.page(cursor=cursor)):
            yield Queue(document)

    async def get(self, name: str) -> Queue:
        """A queue with its settings and counts. Raises NotFound."""
        return Queue(await self._connection.send(calls.queues.get(name)))

    async def set(self, name: str, **settings: Any) -> Queue:
        """Change `max_concurrent` (None: no cap), `weight` or `paused`; what is left out stays."""
        return Queue(await self._connection.send(calls.queues.change(name, settings)))

    async def pause(self, name: str) -> Queue:
        """Start nothing new from it; what runs goes on."""
        return Queue(await self._connection.send(calls.queues.pause(name, True)))

    async def resume(self, name: str) -> Queue:
        """Start from it again."""
        return Queue(await self._connection.send(calls.queues.pause(name, False)))
