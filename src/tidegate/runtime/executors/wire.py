"""Frames between the manager and a process of it: a pickle and the buffers it refers to, over a UNIX stream socket.

Large binary values, such as NumPy arrays, travel as buffers of their own beside the pickle (PEP 574), so nothing copies them
on the way but the kernel. What a frame holds is code to whoever unpickles it: both ends belong to the same application.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Generator, Sequence
from enum import IntEnum
from typing import NamedTuple

Part = bytes | bytearray | memoryview
_HEAD = struct.Struct("=QQHIQ")
_LENGTH = struct.Struct("=Q")
_MOST_PARTS_AT_ONCE = 64
"""Of one sendmsg(2); the kernel takes at least 1024."""


class Kind(IntEnum):
    """What a frame is."""

    CALL = 0
    RESULT = 1
    RAISED = 2
    UNSENDABLE = 3
    """The call is done, but what came of it cannot be pickled."""


class Frame(NamedTuple):
    """The number of the call it belongs to, bytes of memory that the process keeps (0 in a call), and the content."""

    number: int
    kept_bytes: int
    kind: Kind
    parts: Sequence[Part]


def dump(value: object) -> list[Part]:
    """A pickle and its buffers. Raises what pickling raises."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [data, *(buffer.raw() for buffer in buffers)]


def encode(frame: Frame) -> list[memoryview]:
    """As it travels: a head, the lengths of the buffers, then all parts."""
    first, *more = (len(part) for part in frame.parts)
    head = _HEAD.pack(frame.number, frame.kept_bytes, frame.kind, len(more), first)
    lengths = b"".join(map(_LENGTH.pack, more))
    return [memoryview(part) for part in (head + lengths, *frame.parts) if len(part)]


def decode() -> Generator[memoryview, None, Frame]:
    """Yields the buffers to be filled, one after the other; the frame is its return value."""
    head = bytearray(_HEAD.size)
    yield memoryview(head)
    number, kept_bytes, kind, more, first = _HEAD.unpack(head)
    lengths = bytearray(more * _LENGTH.size)
    if more:
        yield memoryview(lengths)
    parts = [bytearray(first), *(bytearray(length) for (length,) in _LENGTH.iter_unpack(lengths))]
    for part in parts:
        if part:
            yield memoryview(part)
    return Frame(number, kept_bytes, Kind(kind), parts)


class Line:
    """The manager's end of a connection, which never blocks. `closed` once the other end is gone."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._outgoing: list[memoryview] = []
        self._decoder = decode()
        self._wanted = next(self._decoder)
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something is still to be sent: call `flush` when the socket is writable."""
        return bool(self._outgoing) and not self.closed

    def send(self, frame: Frame) -> None:
        """Send now what the socket takes, keep the rest."""
        self._outgoing += encode(frame)
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes."""
        try:
            while self._outgoing and not self.closed:
                self._drop(self._socket.sendmsg(self._outgoing[:_MOST_PARTS_AT_ONCE]))
        except BlockingIOError:
            return
        except OSError:
            self.closed = True

    def _drop(self, sent: int) -> None:
        while sent and sent >= len(self._outgoing[0]):
            sent -= len(self._outgoing.pop(0))
        if sent:
            self._outgoing[0] = self._outgoing[0][sent:]

    def receive(self) -> Frame | None:
        """The next whole frame that has arrived, or None when there is none yet."""
        try:
            while not self.closed:
                got = self._socket.recv_into(self._wanted)
                self.closed = not got
                if (frame := self._take(got)) is not None:
                    return frame
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        return None

    def _take(self, got: int) -> Frame | None:
        self._wanted = self._wanted[got:]
        if self._wanted:
            return None
        try:
            self._wanted = next(self._decoder)
        except StopIteration as end:
            self._decoder = decode()
            self._wanted = next(self._decoder)
            frame: Frame = end.value
            return frame
        return None

    def close(self) -> None:
        """Hang up; the other end sees the end of the stream."""
        self.closed = True
        self._socket.close()


def receive_call(sock: socket.socket) -> Frame | None:
    """The next frame of a blocking socket; None when the other end is gone."""
    decoder = decode()
    wanted = next(decoder)
    try:
        while True:
            if sock.recv_into(wanted, 0, socket.MSG_WAITALL) < len(wanted):
                return None
            wanted = next(decoder)
    except StopIteration as end:
        frame: Frame = end.value
        return frame
    except OSError:
        return None


def send_answer(sock: socket.socket, frame: Frame) -> None:
    """Send a frame over a blocking socket, small ones in one piece. Raises OSError when the other end is gone."""
    views = encode(frame)
    if sum(map(len, views)) <= 65536:
        sock.sendall(b"".join(views))
        return
    for view in views:
        sock.sendall(view)
