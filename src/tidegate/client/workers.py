"""The workers of a server or a cluster; both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from tidegate.client import calls
from tidegate.client.views import Worker

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Workers:
    """The workers of a server or a cluster."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Iterator[Worker]:
        """All workers."""
        return map(Worker, self._connection.pages(lambda cursor: calls.workers.page(cursor=cursor)))

    def get(self, worker_id: str) -> Worker:
        """Raises NotFound."""
        return Worker(self._connection.send(calls.workers.get(worker_id)))

    def drain(self, worker_id: str) -> Worker:
        """Start nothing more there; what runs goes on. Raises NotFound."""
        return Worker(self._connection.send(calls.workers.tell(worker_id, "drain")))

    def resume(self, worker_id: str) -> Worker:
        """Start there again. Raises NotFound."""
        return Worker(self._connection.send(calls.workers.tell(worker_id, "resume")))

    def stop(self, worker_id: str) -> Worker:
        """Tell it to end: running jobs get their grace, the rest is put back. Returns before it has. Raises NotFound."""
        return Worker(self._connection.send(calls.workers.tell(worker_id, "stop")))


class AsyncWorkers:
    """The workers of a server or a cluster. See `Workers`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list(self) -> AsyncIterator[Worker]:
        """All workers."""
        async for document in self._connection.pages(lambda cursor: calls.workers.page(cursor=cursor)):
            yield Worker(document)

    async def get(self, worker_id: str) -> Worker:
        """Raises NotFound."""
        return Worker(await self._connection.send(calls.workers.get(worker_id)))

    async def drain(self, worker_id: str) -> Worker:
        """Start nothing more there; what runs goes on. Raises NotFound."""
        return Worker(await self._connection.send(calls.workers.tell(worker_id, "drain")))

    async def resume(self, worker_id: str) -> Worker:
        """Start there again. Raises NotFound."""
        return Worker(await self._connection.send(calls.workers.tell(worker_id, "resume")))

    async def stop(self, worker_id: str) -> Worker:
        """Tell it to end; returns before it has. Raises NotFound."""
        return Worker(await self._connection.send(calls.workers.tell(worker_id, "stop")))
