"""Requests at a constant rate, sent by a process of its own: `python -m benchmarks.open_loop` reads its orders from stdin.

The sender must not measure itself. It is one thread with few objects and no event loop, knows all its requests and their
instants before it begins, never waits for an answer, and takes the highest priority it may have. It takes times at its
sockets: when a request is handed to the kernel, and when the first byte of the answer is there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.figures import Latencies

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_CHUNK_BYTES = 65536
_OPEN_AT_FIRST = 16
_BEGINS_AFTER_S = 0.05


class Stream(NamedTuple):
    """What is sent at a constant rate: a name, how its requests are made, and the status that is right."""

    name: str
    make: Callable[[int], bytes]
    status: int


class Seen(NamedTuple):
    """Answer times by stream; how late the sender was; the priority it had."""

    times: Mapping[str, Latencies]
    late: Latencies
    priority: str


class _Order(NamedTuple):
    port: int
    messages: Sequence[bytes]
    gap_s: float
    patience_s: float


class _Log(NamedTuple):
    """For each request in order: how late it was sent, how long its answer took, and its status; None: no answer."""

    late_s: list[float]
    took_s: list[float]
    statuses: list[int | None]
    priority: str


async def open_loop(
    port: int, streams: Iterable[Stream], rate: float, for_s: float, patience_s: float = 15.0
) -> Seen:
    """Send requests of each stream at a constant rate, whether or not earlier ones were answered.

    An answer's time counts from the send. No send waits for an answer, so a server that stands still is charged for every
    request that came meanwhile (no coordinated omission). What is not answered `patience_s` after the last one was sent
    fails, and counts with the time waited.
    """
    streams = list(streams)
    count = int(rate * for_s) * len(streams)
    messages = [streams[number % len(streams)].make(number) for number in range(count)]
    order = _Order(port, messages, 1 / (rate * len(streams)), patience_s)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.open_loop",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate(pickle.dumps(tuple(order)))
    if process.returncode:
        raise RuntimeError(f"The sender ended with status {process.returncode}.")
    return _seen(streams, _Log(*pickle.loads(answer)))


def _seen(streams: Sequence[Stream], log: _Log) -> Seen:
    times = {stream.name: Latencies([], []) for stream in streams}
    for number, (took_s, status) in enumerate(zip(log.took_s, log.statuses, strict=True)):
        stream = streams[number % len(streams)]
        times[stream.name].values.append(took_s)
        if status != stream.status:
            times[stream.name].failures.append("no answer" if status is None else f"answered {status}")
    return Seen(times, Latencies(log.late_s, []), log.priority)


# The process


@dataclass(slots=True, eq=False)
class _Connection:
    """One kept-alive connection; `number` is the request it is busy with."""

    sock: socket.socket
    number: int | None = None
    sent_at: float = 0.0
    first_at: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)

    def take(self, now: float) -> int | None:
        """Read what is there; the status once the answer is whole, 0 when the server has hung up."""
        data = self.sock.recv(_CHUNK_BYTES)
        if not data:
            return 0
        self.first_at = self.first_at or now
        self.buffer += data
        head_end = self.buffer.find(_HEAD_END)
        if head_end < 0:
            return None
        head = bytes(self.buffer[:head_end]).lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].partition(b"\r\n")[0]) if at >= 0 else 0
        if len(self.buffer) < head_end + len(_HEAD_END) + length:
            return None
        self.buffer.clear()
        return int(head[9:12])


class _Sender:
    def __init__(self, order: _Order) -> None:
        self._order = order
        count = len(order.messages)
        self._late_s = [0.0] * count
        self._took_s = [0.0] * count
        self._statuses: list[int | None] = [None] * count
        self._poll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._free: list[_Connection] = []
        for _ in range(_OPEN_AT_FIRST):
            self._free.append(self._open())

    def run(self) -> _Log:
        order = self._order
        priority = _hurry()
        gc.disable()
        began = time.perf_counter() + _BEGINS_AFTER_S
        for number, message in enumerate(order.messages):
            due = began + number * order.gap_s
            while (left_s := due - time.perf_counter()) > 0:
                self._listen(left_s)
            self._send(number, message, due)
        until = time.perf_counter() + order.patience_s
        while self._busy() and (left_s := until - time.perf_counter()) > 0:
            self._listen(left_s)
        for connection in self._by_fd.values():
            if connection.number is not None:
                self._took_s[connection.number] = time.perf_counter() - connection.sent_at
        return _Log(self._late_s, self._took_s, self._statuses, priority)

    def _open(self) -> _Connection:
        sock = socket.create_connection(("127.0.0.1", self._order.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        connection = self._by_fd[sock.fileno()] = _Connection(sock)
        self._poll.register(sock.fileno(), select.EPOLLIN)
        return connection

    def _busy(self) -> bool:
        return any(connection.number is not None for connection in self._by_fd.values())

    def _send(self, number: int, message: bytes, due: float) -> None:
        connection = self._free.pop() if self._free else self._open()
        connection.number, connection.first_at = number, 0.0
        connection.sent_at = time.perf_counter()
        connection.sock.send(message)  # small: the kernel takes it whole
        self._late_s[number] = connection.sent_at - due

    def _listen(self, for_s: float) -> None:
        """Wait by `select`, which counts in microseconds; `epoll` alone would round to whole milliseconds."""
        if not select.select([self._poll], [], [], for_s)[0]:
            return
        now = time.perf_counter()
        for fd, _ in self._poll.poll(0):
            connection = self._by_fd[fd]
            try:
                status = connection.take(now)
            except OSError:
                status = 0
            if status is not None:
                self._answered(connection, status)

    def _answered(self, connection: _Connection, status: int) -> None:
        number, connection.number = connection.number, None
        if number is not None:
            self._took_s[number] = (connection.first_at or time.perf_counter()) - connection.sent_at
            self._statuses[number] = status or None
        if status:
            self._free.append(connection)
            return
        self._poll.unregister(connection.sock.fileno())
        del self._by_fd[connection.sock.fileno()]
        if connection in self._free:
            self._free.remove(connection)
        connection.sock.close()


def _hurry() -> str:
    """Take the highest priority there is to have, as if this process sat on a machine of its own; which."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass
    else:
        return "SCHED_FIFO"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except OSError:
        return "no priority over the rest"
    return "nice -20"


if __name__ == "__main__":
    # Plain tuples, since here these classes belong to another module than the reader's.
    sys.stdout.buffer.write(pickle.dumps(tuple(_Sender(_Order(*pickle.load(sys.stdin.buffer))).run())))
