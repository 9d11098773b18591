"""JSON lines over a stream socket, without ever blocking: the server, the zygote and the keepers talk this way."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

_CHUNK_BYTES = 256 * 1024
_MAX_LINE_BYTES = 64 * 1024 * 1024
_MAX_FDS = 16


class Channel:
    """One end of a conversation. `closed` once the other end is gone."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
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
        try:
            while not self.closed:
                data, fds, _, _ = socket.recv_fds(self._socket, _CHUNK_BYTES, _MAX_FDS)
                self.fds.extend(fds)
                self.closed = not data
                self._incoming += data
                if len(data) < _CHUNK_BYTES:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        return self._messages()

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


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as it travels."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
