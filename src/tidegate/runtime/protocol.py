"""JSON lines over a stream socket, without ever blocking: the server, the zygote and the keepers talk this way."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

_CHUNK_BYTES = 256 * 1024
_FIRST_CHUNK_BYTES = 16 * 1024
"""Most messages are far smaller, and a large buffer is mapped and unmapped for each: 0.1 ms for every attempt."""
_MAX_LINE_BYTES = 64 * 1024 * 1024
_MAX_FDS = 16


class Channel:
    """One end of a conversation. `closed` once the other end is gone."""

    def __init__(self, sock: socket.socket, *, takes_fds: bool = False) -> None:
        """`takes_fds`: file descriptors may come along with messages; otherwise they are lost."""
        sock.setblocking(False)
        self._socket = sock
        self._takes_fds = takes_fds
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self.fds: list[int] = []
        """File descriptors that came along, in the order of the messages they belong to."""
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something is still to be sent: call `flush` when the socket is writable."""
        return bool(self._outgoing) and not self.closed

    def send(self, message: Mapping[str, Any]) -> None:
        """Send now what the socket takes, keep the rest. After the other end has gone it is dropped."""
        self._outgoing += encode(message)
        self.flush()

    def send_fd(self, message: Mapping[str, Any], fd: int) -> None:
        """Send a short message with a file descriptor. Raises BlockingIOError when the socket is full."""
        if self._outgoing:
            raise BlockingIOError("an earlier message has not been sent yet")
        socket.send_fds(self._socket, [encode(message)], [fd])

    def flush(self) -> None:
        """Send as much as the socket takes."""
        try:
            while self._outgoing and not self.closed:
                sent = self._socket.send(memoryview(self._outgoing)[:_CHUNK_BYTES])
                del self._outgoing[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.closed = True

    def receive(self) -> list[dict[str, Any]]:
        """All whole messages that have arrived. A line that is no JSON object, or is endless, closes the channel."""
        size = _FIRST_CHUNK_BYTES
        try:
            while not self.closed:
                data = self._read(size)
                self.closed = not data
                self._incoming += data
                if len(data) < size:
                    break
                size = _CHUNK_BYTES
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        return self._messages()

    def _read(self, size: int) -> bytes:
        if not self._takes_fds:
            return self._socket.recv(size)
        data, fds, _, _ = socket.recv_fds(self._socket, size, _MAX_FDS)
        self.fds.extend(fds)
        return data

    def _messages(self) -> list[dict[str, Any]]:
        if b"\n" not in self._incoming:
            self.closed = self.closed or len(self._incoming) > _MAX_LINE_BYTES
            return []
        whole, _, rest = self._incoming.rpartition(b"\n")
        self._incoming = bytearray(rest)
        return [json.loads(line) for line in whole.split(b"\n") if line]

    def close(self) -> None:
        """Hang up; the other end sees the end of the stream."""
        self.closed = True
        self._socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


_encoder = json.JSONEncoder(separators=(",", ":"))


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as it travels."""
    return _encoder.encode(message).encode() + b"\n"
