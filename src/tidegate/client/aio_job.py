"""A job and its result, for asyncio programs: the methods of `Job` and `Result`, awaited."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from tidegate.client import calls
from tidegate.client.aio_connection import AsyncConnection
from tidegate.client.files import format_of
from tidegate.client.shapes import Document, Event, Explanation, Rows, job_failed
from tidegate.client.values import LineReader
from tidegate.client.views import JobView, ResultView, require_pandas, require_pyarrow
from tidegate.client.waiting import NO_MORE, Deadline, EventCursor, LogCursor
from tidegate.core.values import decode
from tidegate.errors import ServerUnreachable


class AsyncJob(JobView):
    """A job on a server. Its properties say what was last heard of it; `refresh` asks again, `wait` until it ends."""

    def __init__(self, connection: AsyncConnection, document: Document) -> None:
        super().__init__(document)
        self._connection = connection

    async def refresh(self, wait_s: float | None = None) -> AsyncJob:
        """Ask how the job stands. With `wait_s` (at most 30) the answer comes at its end, or after that time."""
        self.document = await self._connection.send(calls.jobs.get(self.id, wait_s))
        return self

    async def wait(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> AsyncJob:  # noqa: ASYNC109
        """Wait until the job has ended. Raises JobFailed and TimeoutError as `Job.wait` does."""
        deadline = Deadline(timeout, time.monotonic())
        while not self.finished:
            await asyncio.sleep(deadline.pause_s(time.monotonic()))
            await self.refresh(deadline.wait_s(time.monotonic(), self))
        if raise_on_failure and self.status != "SUCCEEDED":
            raise job_failed(self.document)
        return self

    async def result(self) -> AsyncResult:
        """What the job produced; waits for its end. Raises JobFailed when it did not succeed."""
        if not self.finished or "result" not in self.document:
            await (await self.wait()).refresh()
        if self.status != "SUCCEEDED":
            raise job_failed(self.document)
        return AsyncResult(self._connection, self.id, self.document.get("result") or {})

    async def explain(self) -> Explanation:
        """Why the job waits, or why it ended, with numbers."""
        return (await self.refresh()).explanation

    async def cancel(self) -> AsyncJob:
        """Ask for its end; what runs is gone within 2 s. A job that has ended stays as it is."""
        await self._connection.send(calls.jobs.cancel(self.id))
        return await self.refresh()

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """What has happened to the job behind event number `after`, then live until its end. Survives short breaks."""
        cursor = EventCursor(after)
        while True:
            try:
                async with self._connection.stream(calls.jobs.events(self.id, cursor.after)) as response:
                    if response.status_code == NO_MORE:
                        return
                    async for sent in httpx2.EventSource(response):
                        event = cursor.take(sent)
                        if event is not None:
                            yield event
                if cursor.ended(await self.refresh()):
                    return
            except ServerUnreachable as error:
                await asyncio.sleep(cursor.broken(error))

    async def logs(
        self, *, task: int | None = None, attempt: int | None = None, tail: int | None = None
    ) -> str:
        """What the job printed. See `Job.logs`."""
        return await self._connection.send(calls.output.logs(self.id, task, attempt, tail))

    async def follow_logs(
        self, *, task: int | None = None, attempt: int | None = None, tail: int | None = None
    ) -> AsyncIterator[str]:
        """What the job has printed and prints, until its end. See `Job.follow_logs`."""
        cursor = LogCursor()
        while True:
            try:
                call = calls.output.follow_logs(self.id, task, attempt, cursor.last_id, tail)
                async with self._connection.stream(call) as response:
                    if response.status_code == NO_MORE:
                        return
                    async for sent in httpx2.EventSource(response):
                        if text := cursor.take(sent):
                            yield text
                if attempt is not None or cursor.ended(await self.refresh()):
                    return
            except ServerUnreachable as error:
                await asyncio.sleep(cursor.broken(error))

    def files(self) -> AsyncIterator[Document]:
        """The files that it has left behind. See `Job.files`."""
        return self._connection.pages(lambda cursor: calls.output.files(self.id, cursor))

    async def download_file(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Write one of its files to a file here. Raises NotFound."""
        return await self._connection.download(calls.output.file(self.id, name), path)

    def tasks(self, state: str | None = None) -> AsyncIterator[Document]:
        """Its tasks with their attempts; with `state` only those in it, such as `failed`. Read page by page."""
        return self._connection.pages(lambda cursor: calls.jobs.tasks(self.id, state, cursor))

    async def task(self, number: int) -> Document:
        """One of its tasks by its number, the first is 1. Raises NotFound."""
        return await self._connection.send(calls.jobs.task(f"{self.id}.{number}"))


class AsyncResult(ResultView):
    """What a job produced. `async for` streams the rows as dicts without holding them all."""

    def __init__(self, connection: AsyncConnection, job_id: str, document: Document) -> None:
        super().__init__(job_id, document)
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        read = LineReader(self.columns)
        async for line in self._connection.lines(calls.output.result(self.job_id, "jsonl")):
            yield read(line)

    async def value(self) -> Any:
        """What the function returned. Raises ValueError when the job called none."""
        name = self._value_file
        if name is None:
            return decode(self.document["value"])
        async with self._connection.stream(calls.output.file(self.job_id, name)) as response:
            return decode(json.loads(await response.aread()))

    async def rows(self) -> list[dict[str, Any]]:
        """All rows as dicts by column name, with dates, decimals and the like as Python values."""
        return [row async for row in self]

    async def tuples(self) -> list[tuple[Any, ...]]:
        """All rows as tuples in the order of the columns."""
        names = [column.name for column in self.columns]
        return [tuple(row.get(name) for name in names) async for row in self]

    async def preview(self, limit: int = 20, offset: int = 0) -> Rows:
        """A few rows, without reading the rest."""
        return await self._connection.send(calls.output.rows(self.job_id, limit, offset))

    async def download(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write the result to a file here: `parquet`, `csv` or `jsonl`, by its ending unless given."""
        return await self._connection.download(
            calls.output.result(self.job_id, format_of(path, format)), path
        )

    async def arrow(self) -> Any:
        """The result as a `pyarrow.Table`. Raises ImportError naming the extra when pyarrow is missing."""
        parquet = await asyncio.to_thread(require_pyarrow)
        if self._connection.is_local and self.path is not None and self.path.is_file():
            return await asyncio.to_thread(parquet.read_table, self.path)
        async with self._connection.stream(calls.output.result(self.job_id, "parquet")) as response:
            content = await response.aread()
        return await asyncio.to_thread(parquet.read_table, io.BytesIO(content))

    async def df(self) -> Any:
        """The result as a `pandas.DataFrame`. Raises ImportError naming what is missing."""
        await asyncio.to_thread(require_pandas)
        return (await self.arrow()).to_pandas()
