"""An end to whatever a peer does: time limits of sockets count each wait, not their sum."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

EACH_WAIT_S = 10.0
ALL_S = 30.0


@contextlib.contextmanager
def cut_after(limit_s: float, current: Callable[[], socket.socket | None]) -> Iterator[None]:
    """Shut the socket that is in use after this time, so that a peer who sends a byte now and then ends too."""
    timer = threading.Timer(limit_s, _cut, (current,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(current: Callable[[], socket.socket | None]) -> None:
    if (used := current()) is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(
                used, socket.SHUT_RDWR
            )  # that of an SSLSocket would touch what its reader is using
