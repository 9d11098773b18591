"""A pipe that wakes a thread which waits in a selector."""

from __future__ import annotations

import os
import threading


class WakeUp:
    """`set` from any thread makes `fileno` readable until `clear`; many sets wake once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may set while its own thread does
        self._open = True
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        with self._lock:  # the number of a closed descriptor may belong to somebody else by now
            if not self._open:
                return
            try:
                os.write(self._write, b"!")
            except BlockingIOError:
                return  # full of wake-ups already

    def clear(self) -> None:
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self._read)
            os.close(self._write)
