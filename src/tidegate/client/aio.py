"""The client for asyncio programs: the methods of `Client`, awaited."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Unpack

from tidegate.client import calls
from tidegate.client.aio_connection import AsyncConnection
from tidegate.client.aio_job import AsyncJob
from tidegate.client.alerts import AsyncAlerts
from tidegate.client.calls.parts import Time
from tidegate.client.keys import AsyncKeys
from tidegate.client.pressure import AsyncPressure
from tidegate.client.queues import AsyncQueues
from tidegate.client.recovery import AsyncRecovery
from tidegate.client.session import Target, choose_server
from tidegate.client.shapes import Document, Rows
from tidegate.client.sources import AsyncSources
from tidegate.client.submission import IngestFields, SqlFields, body_of, ingest_body, new_key
from tidegate.client.workers import AsyncWorkers
from tidegate.errors import TidegateError
from tidegate.functions import Function


def connect_async(
    url: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    **settings: Any,
) -> AsyncClient:
    """As `tidegate.connect`, for asyncio: `async with tidegate.connect_async() as client`. It connects on entering."""
    return AsyncClient(lambda: choose_server(url, data_dir, api_key, settings))


class AsyncClient(AsyncConnection):
    """Speaks to one server from one event loop. Enter it, or call `open()` before and `close()` after use."""

    def __init__(self, choose: Callable[[], Target]) -> None:
        super().__init__(choose)
        self.sources = AsyncSources(self)
        self.queues = AsyncQueues(self)
        self.keys = AsyncKeys(self)
        self.workers = AsyncWorkers(self)
        self.alerts = AsyncAlerts(self)
        self.recovery = AsyncRecovery(self)
        self.pressure = AsyncPressure(self)

    async def sql(
        self,
        sql: str,
        *,
        idempotency_key: str | None = None,
        busy_timeout_s: float = 0.0,
        **fields: Unpack[SqlFields],
    ) -> AsyncJob:
        """Submit a query as a job. See `Client.submit`."""
        return await self._submit({"kind": "sql", "sql": sql, **fields}, idempotency_key, busy_timeout_s)

    async def ingest(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        into: str | None = None,
        table: str | None = None,
        idempotency_key: str | None = None,
        busy_timeout_s: float = 0.0,
        **fields: Unpack[IngestFields],
    ) -> AsyncJob:
        """Load Excel and CSV files of the server's machine. See `Client.ingest`."""
        return await self._submit(ingest_body(files, into, table, fields), idempotency_key, busy_timeout_s)

    async def preview_file(
        self,
        file: str | os.PathLike[str],
        *,
        sheet: str | int | None = None,
        rows: int = 20,
        **options: Any,
    ) -> Document:
        """What `ingest` would load of a file. See `Client.preview_file`."""
        return await self.send(calls.files.preview(os.fspath(file), sheet, rows, options))

    async def submit(
        self,
        what: str | Function[..., Any],
        /,
        *args: Any,
        idempotency_key: str | None = None,
        busy_timeout_s: float = 0.0,
        **fields: Any,
    ) -> AsyncJob:
        """Submit a job of any kind, or a call of a registered function. See `Client.submit`."""
        return await self._submit(body_of(what, args, fields), idempotency_key, busy_timeout_s)

    async def _submit(self, body: Mapping[str, Any], key: str | None, busy_timeout_s: float) -> AsyncJob:
        return AsyncJob(self, await self.send(calls.jobs.submit(body, key or new_key(), busy_timeout_s)))

    async def submit_many(
        self, jobs: Sequence[Mapping[str, Any]], *, busy_timeout_s: float = 0.0
    ) -> list[AsyncJob | TidegateError]:
        """Submit many jobs at once. The answers are in their order: a job or its error."""
        answers = await self.send(calls.jobs.submit_many(jobs, busy_timeout_s))
        return [answer if isinstance(answer, TidegateError) else AsyncJob(self, answer) for answer in answers]

    async def job(self, job_id: str | int) -> AsyncJob:
        """A job by its id. Raises NotFound."""
        return AsyncJob(self, await self.send(calls.jobs.get(str(job_id))))

    async def jobs(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        queue: str | None = None,
        owner: str | None = None,
        oldest_first: bool = False,
        page_size: int | None = None,
    ) -> AsyncIterator[AsyncJob]:
        """Jobs, the newest first unless told, read page by page as they are iterated."""
        order = "oldest" if oldest_first else None
        pages = self.pages(
            lambda cursor: calls.jobs.page(
                status=status,
                kind=kind,
                queue=queue,
                owner=owner,
                order=order,
                limit=page_size,
                cursor=cursor,
            )
        )
        async for document in pages:
            yield AsyncJob(self, document)

    async def query(
        self,
        sql: str,
        *,
        limit: int | None = None,
        timeout_s: float | None = None,
        memory: int | str | None = None,
    ) -> Rows:
        """A small query, answered at once and bounded in rows and time."""
        return await self.send(calls.jobs.query(sql, limit, timeout_s, memory))

    async def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object: str | None = None,
        since: Time = None,
        until: Time = None,
    ) -> AsyncIterator[Document]:
        """Who did what, the newest first; for operators."""
        pages = self.pages(
            lambda cursor: calls.keys.audit(
                actor=actor, action=action, object=object, since=since, until=until, cursor=cursor
            )
        )
        async for document in pages:
            yield document

    async def usage(
        self, by: str = "user", *, since: Time = None, until: Time = None, owner: str | None = None
    ) -> Document:
        """Who used how much, by `user`, `queue` or `kind`: all `items` and the `total`, as docs/usage.md shows them.

        Of the jobs that ended from `since` up to `until`, by default in the last 30 days. Operators see all owners, or only
        `owner`; others themselves.
        """
        found = await self.send(calls.usage.page(by, since, until, owner))
        while (cursor := found["next_cursor"]) is not None:
            # The time of the first page: what a default means has moved on since.
            more = await self.send(calls.usage.page(by, found["from"], found["to"], owner, cursor=cursor))
            found["items"] += more["items"]
            found["next_cursor"] = more["next_cursor"]
        return found

    async def resources(
        self, *, since: Time = None, until: Time = None, step_s: int | None = None, place: str | None = None
    ) -> AsyncIterator[Document]:
        """What workers and servers felt, the worst of each step; by default of each hour of the last day."""
        async for document in self.pages(
            lambda cursor: calls.usage.resources(since, until, step_s, place, cursor=cursor)
        ):
            yield document
