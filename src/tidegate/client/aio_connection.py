"""How calls are carried out, for asyncio programs: the methods of `Connection`, awaited."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from tidegate.client import calls
from tidegate.client.call import Call, Reply
from tidegate.client.files import CHUNK_BYTES, LineSplitter, file_to_upload, whole_file
from tidegate.client.http import check, client_options, connection_errors, request_options
from tidegate.client.retry import OnWait, Patience, wait_silently
from tidegate.client.session import Target
from tidegate.client.shapes import Document, Page
from tidegate.client.submission import new_key
from tidegate.client.throttle import Throttle
from tidegate.errors import Busy, ServerUnreachable, TidegateError, Unavailable

T = TypeVar("T")


class AsyncConnection:
    """To one server, from one event loop. Enter it, or call `open()` before and `close()` after use."""

    def __init__(self, choose: Callable[[], Target]) -> None:
        self.on_wait: OnWait = wait_silently
        """Called before each pause of a request that the server has refused for now."""
        self._throttle = Throttle(time.monotonic, random.random)
        self._choose = choose
        self._target: Target | None = None
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> Self:
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

    async def __aenter__(self) -> Self:
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
        call = calls.files.upload(file.name, size_bytes, source_name, overwrite, shared)
        return call.parse(await self._exchange(call, _chunks(file)))

    async def send_file(self, path: str | os.PathLike[str]) -> str:
        """Send a file that a job is to read. See `Client.send_file`."""
        file, size_bytes = await asyncio.to_thread(file_to_upload, path)
        call = calls.files.send(f"{new_key()}{file.suffix}", size_bytes)
        return str(call.parse(await self._exchange(call, _chunks(file)))["path"])


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    opened = await asyncio.to_thread(file.open, "rb")
    try:
        while chunk := await asyncio.to_thread(opened.read, CHUNK_BYTES):
            yield chunk
    finally:
        opened.close()
