"""How far running attempts are, told by workers to all servers. Figures for watchers, not facts."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Protocol

from tidegate.cache.line import RedisLine
from tidegate.core.job import AttemptKey

_CHANNEL = "progress"
REPEAT_S = 5.0
"""How often all is told again, for servers that have come or lost the line meanwhile."""


class Board(Protocol):
    """Where a server keeps what it hears."""

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None: ...

    def ended(self, key: AttemptKey) -> None: ...


class ProgressTeller:
    """The worker's side: an `AttemptWatcher` that tells the servers, the newest figure of each attempt at a time."""

    def __init__(self, line: RedisLine) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._running: dict[AttemptKey, tuple[float | None, int]] = {}
        self._news: dict[AttemptKey, tuple[float | None, int] | None] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="tidegate-progress", daemon=True)
        line.speak(_CHANNEL, self._take)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None:
        with self._lock:
            self._running[key] = self._news[key] = (share, peak_memory_bytes)
        self._line.wake()

    def ended(self, key: AttemptKey) -> None:
        with self._lock:
            if self._running.pop(key, None) is None:
                return  # nobody was told that it ran
            self._news[key] = None
        self._line.wake()

    def refused(self, keys: Sequence[AttemptKey]) -> None:
        """What was not claimed has not come anywhere."""

    def _repeat(self) -> None:
        while not self._stopped.wait(REPEAT_S):
            with self._lock:
                self._news = {**self._running, **self._news}
            self._line.wake()

    def _take(self) -> str | None:
        with self._lock:
            news, self._news = self._news, {}
        return json.dumps([[*key, *(figures or ())] for key, figures in news.items()]) if news else None


def hear_progress(line: RedisLine, board: Board) -> None:
    """The server's side: what workers tell is put on the board. To be called before the line is listened to."""

    def heard(text: str) -> None:
        for job_id, number, attempt, *figures in json.loads(text):
            key = AttemptKey(job_id, number, attempt)
            if figures:
                board.moved(key, *figures)
            else:
                board.ended(key)

    line.listen(_CHANNEL, heard, lambda: None)
