"""The client for asyncio programs: the methods of `Client`, awaited."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack

import httpx2

from tidegate.client import calls
from tidegate.client.aio_job import AsyncJob
from tidegate.client.alerts import AsyncAlerts
from tidegate.client.calls import Call, Reply, Time
from tidegate.client.client import source_name_of
from tidegate.client.files import CHUNK_BYTES, LineSplitter, file_to_upload, format_of, whole_file
from tidegate.client.http import check, client_options, connection_errors, request_options
from tidegate.client.keys import AsyncKeys
from tidegate.client.pressure import AsyncPressure
from tidegate.client.recovery import AsyncRecovery
from tidegate.client.retry import OnWait, Patience, wait_silently
from tidegate.client.session import Target, choose_server
from tidegate.client.shapes import Document, Page, Rows
from tidegate.client.submission import IngestFields, SqlFields, body_of, ingest_body, new_key
from tidegate.client.throttle import Throttle
from tidegate.client.views import Queue, Source, Worker
from tidegate.errors import Busy, ServerUnreachable, TidegateError, Unavailable
from tidegate.functions import Function

T = TypeVar("T")


def connect_async(
    url: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    **settings: Any,
) -> AsyncClient:
    """As `tidegate.connect`, for asyncio: `async with tidegate.connect_async() as client`. It connects on entering."""
    return AsyncClient(lambda: choose_server(url, data_dir, api_key, settings))


class AsyncClient:
    """Speaks to one server from one event loop. Enter it, or call `open()` before and `close()` after use."""

    def __init__(self, choose: Callable[[], Target]) -> None:
        self.sources = AsyncSources(self)
        self.queues = AsyncQueues(self)
        self.keys = AsyncKeys(self)
        self.workers = AsyncWorkers(self)
        self.on_wait: OnWait = wait_silently
        """Called before each pause of a request that the server has refused for now."""
        self._throttle = Throttle(time.monotonic, random.random)
        self.alerts = AsyncAlerts(self)
        self.recovery = AsyncRecovery(self)
        self.pressure = AsyncPressure(self)
        self._choose = choose
        self._target: Target | None = None
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> AsyncClient:
        """Find or start the server. Doing so twice is fine."""
        if self._client is None:
            self._target = await asyncio.to_thread(self._choose)
            self._client = httpx2.AsyncClient(**client_options(self._target.url, self._target.api_key))
        return self

    async def find_again(self) -> None:
        """Look for the server anew: that of a data directory may have another address by now. Raises ServerUnreachable.

        What could not be sent before counts no longer: after an hour without a server the first request is sent.
        """
        target = await asyncio.to_thread(self._choose)
        self._throttle = Throttle(time.monotonic, random.random)
        if target.url != self.url:
            before, self._target = self._http, target
            self._client = httpx2.AsyncClient(**client_options(target.url, target.api_key))
            await before.aclose()

    async def close(self) -> None:
        """Close the connections, and end the server if it was started for this client."""
        client, target = self._client, self._target
        self._client = self._target = None
        if client is not None:
            await client.aclose()
        if target is not None and target.server is not None:
            await asyncio.to_thread(target.server.stop)

    async def __aenter__(self) -> AsyncClient:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        if self._target is None:
            raise RuntimeError("The client is not open: use `async with`, or await its open().")
        return self._target.url

    @property
    def is_local(self) -> bool:
        """Whether the server's files are files of this machine."""
        return self._http.base_url.host in ("127.0.0.1", "::1", "localhost")

    @property
    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise RuntimeError("The client is not open: use `async with`, or await its open().")
        return self._client

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
        return await self.send(calls.preview_file(os.fspath(file), sheet, rows, options))

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
        return AsyncJob(self, await self.send(calls.submit(body, key or new_key(), busy_timeout_s)))

    async def submit_many(
        self, jobs: Sequence[Mapping[str, Any]], *, busy_timeout_s: float = 0.0
    ) -> list[AsyncJob | TidegateError]:
        """Submit many jobs at once. The answers are in their order: a job or its error."""
        answers = await self.send(calls.submit_many(jobs, busy_timeout_s))
        return [answer if isinstance(answer, TidegateError) else AsyncJob(self, answer) for answer in answers]

    async def job(self, job_id: str | int) -> AsyncJob:
        """A job by its id. Raises NotFound."""
        return AsyncJob(self, await self.send(calls.job(str(job_id))))

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
            lambda cursor: calls.jobs(
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
        return await self.send(calls.query(sql, limit, timeout_s, memory))

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
            lambda cursor: calls.audit(
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
        found = await self.send(calls.usage(by, since, until, owner))
        while (cursor := found["next_cursor"]) is not None:
            # The time of the first page: what a default means has moved on since.
            more = await self.send(calls.usage(by, found["from"], found["to"], owner, cursor=cursor))
            found["items"] += more["items"]
            found["next_cursor"] = more["next_cursor"]
        return found

    async def resources(
        self, *, since: Time = None, until: Time = None, step_s: int | None = None, place: str | None = None
    ) -> AsyncIterator[Document]:
        """What workers and servers felt, the worst of each step; by default of each hour of the last day."""
        async for document in self.pages(
            lambda cursor: calls.resources(since, until, step_s, place, cursor=cursor)
        ):
            yield document

    async def send(self, call: Call[T]) -> T:
        """Carry out one call, again where that is safe, and read its answer."""
        patience = Patience(call, self._throttle)
        while True:
            try:
                patience.check()
                return call.parse(await self._heard(patience))
            except (ServerUnreachable, Busy, Unavailable) as error:
                pause_s = patience.pause_after(error)
                if pause_s is None:
                    raise
                self.on_wait(pause_s, error)
            await asyncio.sleep(pause_s)

    async def _heard(self, patience: Patience[Any]) -> Reply:
        """One try, counted."""
        try:
            reply = await self._exchange(patience.call)
        except TidegateError as error:
            patience.answered(error)
            raise
        patience.answered(None)
        return reply

    async def _exchange(self, call: Call[Any], content: AsyncIterator[bytes] | None = None) -> Reply:
        with connection_errors(self.url):
            response = await self._http.request(
                call.method, call.path, content=content, **request_options(call)
            )
        check(response, call)
        return Reply(response.status_code, response.headers, response.content)

    async def pages(self, page: Callable[[str | None], Call[Page]]) -> AsyncIterator[Document]:
        """The items of all pages."""
        cursor: str | None = None
        while True:
            answer = await self.send(page(cursor))
            for item in answer.items:
                yield item
            cursor = answer.next_cursor
            if cursor is None:
                return

    @asynccontextmanager
    async def stream(self, call: Call[Any]) -> AsyncIterator[httpx2.Response]:
        """The answer of a call, to be read piece by piece."""
        with connection_errors(self.url):
            async with self._http.stream(call.method, call.path, **request_options(call)) as response:
                if response.status_code >= 300:
                    await response.aread()
                    check(response, call)
                yield response

    async def lines(self, call: Call[None]) -> AsyncIterator[str]:
        """The lines of a download."""
        splitter = LineSplitter()
        async with self.stream(call) as response:
            async for chunk in response.aiter_bytes():
                for line in splitter.feed(chunk):
                    yield line
        for line in splitter.flush():
            yield line

    async def download(self, call: Call[None], path: str | os.PathLike[str]) -> Path:
        """Write a download to a file, which appears when it is whole."""
        async with self.stream(call) as response:
            with whole_file(path) as file:
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    await asyncio.to_thread(file.write, chunk)
        return Path(path)

    async def upload(
        self, path: str | os.PathLike[str], source_name: str | None, overwrite: bool, shared: bool = False
    ) -> Document:
        """Send a file's bytes."""
        file, size_bytes = await asyncio.to_thread(file_to_upload, path)
        call = calls.upload_file(file.name, size_bytes, source_name, overwrite, shared)
        return call.parse(await self._exchange(call, _chunks(file)))

    async def send_file(self, path: str | os.PathLike[str]) -> str:
        """Send a file that a job is to read. See `Client.send_file`."""
        file, size_bytes = await asyncio.to_thread(file_to_upload, path)
        call = calls.send_file(f"{new_key()}{file.suffix}", size_bytes)
        return str(call.parse(await self._exchange(call, _chunks(file)))["path"])


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    opened = await asyncio.to_thread(file.open, "rb")
    try:
        while chunk := await asyncio.to_thread(opened.read, CHUNK_BYTES):
            yield chunk
    finally:
        opened.close()


class AsyncSources:
    """The named data sets of a server. See `Sources`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def add(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        shared: bool = False,
        **options: Any,
    ) -> Source:
        """Register a file, glob or folder of the server's machine under a name."""
        return Source(
            await self._client.send(calls.add_source(name, os.fspath(path), format, options or None, shared))
        )

    async def upload(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        overwrite: bool = False,
        shared: bool = False,
    ) -> Source:
        """Send a file of any size to the server; it becomes a source."""
        document = await self._client.upload(path, name, overwrite, shared)
        return await self.get(source_name_of(document, name))

    async def list(self) -> AsyncIterator[Source]:
        """All sources, read page by page."""
        async for document in self._client.pages(lambda cursor: calls.sources(cursor=cursor)):
            yield Source(document)

    async def get(self, name: str) -> Source:
        """A source with its columns, size and origin. Raises NotFound."""
        return Source(await self._client.send(calls.source(name)))

    async def preview(self, name: str, limit: int = 20, offset: int = 0) -> Rows:
        """A page of its rows."""
        return await self._client.send(calls.preview_source(name, limit, offset))

    async def download(self, name: str, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write it to a file here."""
        return await self._client.download(calls.download_source(name, format_of(path, format)), path)

    async def delete(self, name: str) -> None:
        """Forget it. Files that Tidegate made go with it; files of the user stay."""
        await self._client.send(calls.delete_source(name))


class AsyncQueues:
    """The queues of a server. See `Queues`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> AsyncIterator[Queue]:
        """All queues."""
        async for document in self._client.pages(lambda cursor: calls.queues(cursor=cursor)):
            yield Queue(document)

    async def get(self, name: str) -> Queue:
        """A queue with its settings and counts. Raises NotFound."""
        return Queue(await self._client.send(calls.queue(name)))

    async def set(self, name: str, **settings: Any) -> Queue:
        """Change `max_concurrent` (None: no cap), `weight` or `paused`; what is left out stays."""
        return Queue(await self._client.send(calls.set_queue(name, settings)))

    async def pause(self, name: str) -> Queue:
        """Start nothing new from it; what runs goes on."""
        return Queue(await self._client.send(calls.pause_queue(name, True)))

    async def resume(self, name: str) -> Queue:
        """Start from it again."""
        return Queue(await self._client.send(calls.pause_queue(name, False)))


class AsyncWorkers:
    """The workers of a server or a cluster. See `Workers`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> AsyncIterator[Worker]:
        """All workers."""
        async for document in self._client.pages(lambda cursor: calls.workers(cursor=cursor)):
            yield Worker(document)

    async def get(self, worker_id: str) -> Worker:
        """Raises NotFound."""
        return Worker(await self._client.send(calls.worker(worker_id)))

    async def drain(self, worker_id: str) -> Worker:
        """Start nothing more there; what runs goes on. Raises NotFound."""
        return Worker(await self._client.send(calls.tell_worker(worker_id, "drain")))

    async def resume(self, worker_id: str) -> Worker:
        """Start there again. Raises NotFound."""
        return Worker(await self._client.send(calls.tell_worker(worker_id, "resume")))

    async def stop(self, worker_id: str) -> Worker:
        """Tell it to end; returns before it has. Raises NotFound."""
        return Worker(await self._client.send(calls.tell_worker(worker_id, "stop")))
