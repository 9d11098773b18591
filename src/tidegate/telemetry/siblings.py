"""Processes that listen on one port of a machine, and answer for each other.

Where several processes share a port, the kernel gives a scrape to any of them, and the next one to another: counters would
jump back and forth. So the process that is asked asks its siblings, and shows the figures of all, each under a name.

Each has a UNIX socket in the abstract namespace, which belongs to the network namespace as ports do, leaves no file behind and
is gone with its process. Its number is the lowest that is free, so a process that is begun again gets the name it had. Who
runs under another user is not answered and not believed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tidegate.errors import Unavailable
from tidegate.telemetry.meters import Distribution, Exemplar, Sample

__all__ = ["Siblings"]

log = logging.getLogger("tidegate.metrics")

MOST = 64
"""Processes of one port that answer for each other."""
PATIENCE_S = 3.0
"""So long all siblings together may take. Each of them waits at most 2 s for its database."""
MOST_BYTES = 16 * 1024 * 1024
_CREDENTIALS = struct.Struct("3i")


class Siblings:
    """The processes of `group`, this one among them: it tells `samples` to any of them that asks."""

    def __init__(self, group: str, role: str, samples: Callable[[], list[Sample]]) -> None:
        self._prefix = f"\0tidegate-metrics/{os.getuid()}/{group}/"
        self._samples = samples
        self._listening, self.number = self._take_number()
        self.name = f"{role}-{self.number}"
        """What this process is called among them."""
        self._thread = threading.Thread(target=self._run, name="tidegate-siblings", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # ends the wait for the next one
        self._listening.close()
        self._thread.join()

    def ask(self) -> list[tuple[str, list[Sample]]]:
        """The others, by name, with what they tell. One that does not answer in time is told of in its place."""
        until_s = time.monotonic() + PATIENCE_S
        with contextlib.ExitStack() as closing:
            asked = [(number, closing.enter_context(link)) for number, link in self._others()]
            return [_read(link, number, until_s) for number, link in asked]

    def _take_number(self) -> tuple[socket.socket, int]:
        for number in range(MOST):
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listening.bind(f"{self._prefix}{number}")
            except OSError:
                listening.close()
                continue
            listening.listen(MOST)
            return listening, number
        raise Unavailable(f"{MOST} processes share this port already. Start fewer.")

    def _others(self) -> Iterator[tuple[int, socket.socket]]:
        """Connections to all that are there. Who is connected to begins to answer."""
        for number in range(MOST):
            if number == self.number:
                continue
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(PATIENCE_S)
            try:
                link.connect(f"{self._prefix}{number}")
            except OSError:
                link.close()
                continue
            if _is_ours(link):
                yield number, link
            else:
                link.close()

    def _run(self) -> None:
        while True:
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            with link, contextlib.suppress(OSError):
                if _is_ours(link):
                    link.settimeout(PATIENCE_S)
                    link.sendall(_to_json(self.name, self._samples()))


def _is_ours(link: socket.socket) -> bool:
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1]) == os.getuid()


def _read(link: socket.socket, number: int, until_s: float) -> tuple[str, list[Sample]]:
    try:
        return _from_json(_received(link, until_s))
    except (OSError, ValueError, TypeError) as error:
        log.warning("Process %d of this port did not tell its metrics: %s", number, error)
        return str(number), [Sample("tidegate_metrics_missing", 1.0, ("process",))]


def _received(link: socket.socket, until_s: float) -> bytes:
    received = bytearray()
    while True:
        link.settimeout(max(until_s - time.monotonic(), 0.001))
        part = link.recv(65536)
        received += part
        if not part:
            return bytes(received)
        if len(received) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")


def _to_json(name: str, samples: list[Sample]) -> bytes:
    return json.dumps([name, samples], separators=(",", ":")).encode()


def _from_json(received: bytes) -> tuple[str, list[Sample]]:
    name, samples = json.loads(received)
    return str(name), [Sample(str(of), _value(value), tuple(labels)) for of, value, labels in samples]


def _value(value: Any) -> float | Distribution:
    if isinstance(value, list):
        counts, total, *kept = value  # one of a version before has no exemplars
        exemplars = {int(bucket): Exemplar(*one) for bucket, one in (kept[0] if kept else {}).items()}
        return Distribution(tuple(counts), float(total), exemplars)
    return float(value)
