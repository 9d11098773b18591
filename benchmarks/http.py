"""A small HTTP/1.1 client for load: kept-alive connections, requests made by hand, answers with a Content-Length.

It costs a fraction of what the server under test spends on a request, so that it does not measure itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, NamedTuple

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def wanted(self, status: int) -> Any:
        """The body as JSON. Raises RuntimeError when the status is another."""
        if self.status != status:
            raise RuntimeError(f"The server answered {self.status}, not {status}: {self.body[:500]!r}")
        return json.loads(self.body)


def request(method: str, path: str, body: object = None, *, host: str = "127.0.0.1", **headers: str) -> bytes:
    """The bytes of a request; a body is sent as JSON."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    content = b""
    if body is not None:
        content = json.dumps(body, separators=(",", ":")).encode()
        lines.append("content-type: application/json")
    if content or method != "GET":
        lines.append(f"content-length: {len(content)}")
    return "\r\n".join(lines).encode() + _END + content


class Connection(asyncio.Protocol):
    """One kept-alive connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_END)
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].partition(b"\r\n")[0]) if at >= 0 else 0
        end = head_end + len(_END) + length
        if len(self._buffer) < end or self._waiting is None:
            return
        body = bytes(self._buffer[head_end + len(_END) : end])
        del self._buffer[:end]
        waiting, self._waiting = self._waiting, None
        if not waiting.done():
            waiting.set_result(Answer(int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("The server closed the connection."))

    def send(self, message: bytes) -> Awaitable[Answer]:
        """Send a request made by `request`; its answer. Raises ConnectionError."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionError("The connection is closed.")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Pool:
    """Connections to one server, opened when all are busy. Use it as an async context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: deque[Connection] = deque()
        self._all: list[Connection] = []

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._all:
            connection.close()

    async def send(self, message: bytes) -> Answer:
        """The answer to a request. Raises ConnectionError."""
        connection = self._free.pop() if self._free else await self._open()
        answer = await connection.send(message)
        self._free.append(connection)
        return answer

    async def call(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        """The JSON that a request answers. Raises RuntimeError for another status."""
        return (await self.send(request(method, path, body))).wanted(status)

    async def _open(self) -> Connection:
        connection = await Connection.open(self._port)
        self._all.append(connection)
        return connection


async def closed_loop(port: int, messages: Iterable[bytes], connections: int) -> list[Answer]:
    """Send all messages over some connections, each sending its next as soon as it has an answer."""
    rest: Iterator[bytes] = iter(messages)
    answers: list[Answer] = []

    async def drive() -> None:
        connection = await Connection.open(port)
        for message in rest:
            answer = await connection.send(message)
            answers.append(answer)
        connection.close()

    await asyncio.gather(*(drive() for _ in range(connections)))
    return answers
