"""A job and its result, for programs that wait by blocking."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tidegate.client import calls
from tidegate.client.connection import Connection
from tidegate.client.files import format_of
from tidegate.client.shapes import Document, Event, Explanation, Rows, job_failed
from tidegate.client.values import LineReader
from tidegate.client.views import JobView, ResultView, require_pandas, require_pyarrow
from tidegate.client.waiting import NO_MORE, Deadline, EventCursor, LogCursor
from tidegate.core.values import decode
from tidegate.errors import ServerUnreachable


class Job(JobView):
    """A job on a server. Its properties say what was last heard of it; `refresh` asks again, `wait` until it ends."""

    def __init__(self, connection: Connection, document: Document) -> None:
        super().__init__(document)
        self._connection = connection

    def refresh(self, wait_s: float | None = None) -> Job:
        """Ask how the job stands. With `wait_s` (at most 30) the answer comes at its end, or after that time."""
        self.document = self._connection.send(calls.jobs.get(self.id, wait_s))
        return self

    def wait(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Job:
        """Wait until the job has ended, at most `timeout` seconds.

        Raises JobFailed when it did not succeed (unless told not to), TimeoutError when it has not ended in time.
        """
        deadline = Deadline(timeout, time.monotonic())
        while not self.finished:
            time.sleep(deadline.pause_s(time.monotonic()))
            self.refresh(deadline.wait_s(time.monotonic(), self))
        if raise_on_failure and self.status != "SUCCEEDED":
            raise job_failed(self.document)
        return self

    def result(self) -> Result:
        """What the job produced; waits for its end. Raises JobFailed when it did not succeed."""
        if not self.finished or "result" not in self.document:
            self.wait().refresh()
        if self.status != "SUCCEEDED":
            raise job_failed(self.document)
        return Result(self._connection, self.id, self.document.get("result") or {})

    def explain(self) -> Explanation:
        """Why the job waits, or why it ended, with numbers."""
        return self.refresh().explanation

    def cancel(self) -> Job:
        """Ask for its end; what runs is gone within 2 s. A job that has ended stays as it is."""
        self._connection.send(calls.jobs.cancel(self.id))
        return self.refresh()

    def events(self, after: int = 0) -> Iterator[Event]:
        """What has happened to the job behind event number `after`, then live until its end. Survives short breaks."""
        cursor = EventCursor(after)
        while True:
            try:
                with self._connection.stream(calls.jobs.events(self.id, cursor.after)) as response:
                    if response.status_code == NO_MORE:
                        return
                    yield from filter(None, map(cursor.take, httpx2.EventSource(response)))
                if cursor.ended(self.refresh()):
                    return
            except ServerUnreachable as error:
                time.sleep(cursor.broken(error))

    def logs(self, *, task: int | None = None, attempt: int | None = None, tail: int | None = None) -> str:
        """What the newest attempt of the first task printed, or that which is named; `tail`: only the last lines."""
        return self._connection.send(calls.output.logs(self.id, task, attempt, tail))

    def follow_logs(
        self, *, task: int | None = None, attempt: int | None = None, tail: int | None = None
    ) -> Iterator[str]:
        """What the job has printed and prints, piece by piece until its end, of one attempt or of all from the newest on.

        `tail`: of what is there, only so many last lines. Survives short breaks.
        """
        cursor = LogCursor()
        while True:
            try:
                with self._connection.stream(
                    calls.output.follow_logs(self.id, task, attempt, cursor.last_id, tail)
                ) as response:
                    if response.status_code == NO_MORE:
                        return
                    yield from filter(None, map(cursor.take, httpx2.EventSource(response)))
                if attempt is not None or cursor.ended(self.refresh()):
                    return
            except ServerUnreachable as error:
                time.sleep(cursor.broken(error))

    def files(self) -> Iterator[Document]:
        """The files that a command or a function has left behind: `name` and `size_bytes` of each."""
        return self._connection.pages(lambda cursor: calls.output.files(self.id, cursor))

    def download_file(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Write one of its files to a file here. Raises NotFound."""
        return self._connection.download(calls.output.file(self.id, name), path)

    def tasks(self, state: str | None = None) -> Iterator[Document]:
        """Its tasks with their attempts; with `state` only those in it, such as `failed`. Read page by page."""
        return self._connection.pages(lambda cursor: calls.jobs.tasks(self.id, state, cursor))

    def task(self, number: int) -> Document:
        """One of its tasks by its number, the first is 1. Raises NotFound."""
        return self._connection.send(calls.jobs.task(f"{self.id}.{number}"))


class Result(ResultView):
    """What a job produced. Iterating streams the rows as dicts without holding them all."""

    def __init__(self, connection: Connection, job_id: str, document: Document) -> None:
        super().__init__(job_id, document)
        self._connection = connection

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(
            LineReader(self.columns), self._connection.lines(calls.output.result(self.job_id, "jsonl"))
        )

    @property
    def value(self) -> Any:
        """What the function returned. Raises ValueError when the job called none."""
        name = self._value_file
        if name is None:
            return decode(self.document["value"])
        with self._connection.stream(calls.output.file(self.job_id, name)) as response:
            return decode(json.loads(response.read()))

    def rows(self) -> list[dict[str, Any]]:
        """All rows as dicts by column name, with dates, decimals and the like as Python values."""
        return list(self)

    def tuples(self) -> list[tuple[Any, ...]]:
        """All rows as tuples in the order of the columns."""
        names = [column.name for column in self.columns]
        return [tuple(row.get(name) for name in names) for row in self]

    def preview(self, limit: int = 20, offset: int = 0) -> Rows:
        """A few rows, without reading the rest."""
        return self._connection.send(calls.output.rows(self.job_id, limit, offset))

    def download(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write the result to a file here: `parquet`, `csv` or `jsonl`, by its ending unless given."""
        return self._connection.download(calls.output.result(self.job_id, format_of(path, format)), path)

    def arrow(self) -> Any:
        """The result as a `pyarrow.Table`. Raises ImportError naming the extra when pyarrow is missing."""
        parquet = require_pyarrow()
        if self._connection.is_local and self.path is not None and self.path.is_file():
            return parquet.read_table(self.path)
        with self._connection.stream(calls.output.result(self.job_id, "parquet")) as response:
            return parquet.read_table(io.BytesIO(response.read()))

    def df(self) -> Any:
        """The result as a `pandas.DataFrame`. Raises ImportError naming what is missing."""
        require_pandas()
        return self.arrow().to_pandas()
