"""The bell between processes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from tidegate.cache.line import RedisLine

MOST_KEPT = 10_000
"""Topics that gather while Redis is slow. Beyond, rings are lost, and whoever waits looks by himself."""
_CHANNEL = "bell"


class RedisBell:
    """Calls back everyone who subscribed to the topic, in whichever process of the installation it was rung.

    Here at once, on the ringing thread; elsewhere after what Redis takes, all topics that gathered meanwhile in one message.
    When the line to Redis stands again after it was broken, everyone is called: nobody knows what was rung meanwhile.
    """

    def __init__(self, line: RedisLine) -> None:
        self._line = line
        self._origin = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._callbacks: dict[str, list[Callable[[], None]]] = {}
        self._rung: dict[str, None] = {}
        line.speak(_CHANNEL, self._take)
        line.listen(_CHANNEL, self._heard, self._call_all)

    def ring(self, topic: str) -> None:
        self._call(topic)
        with self._lock:
            if len(self._rung) < MOST_KEPT:
                self._rung[topic] = None
        self._line.wake()

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.setdefault(topic, []).append(callback)
        self._line.open_ears()

        def end() -> None:
            with self._lock:
                callbacks = self._callbacks.get(topic, [])
                if callback in callbacks:
                    callbacks.remove(callback)
                if not callbacks:
                    self._callbacks.pop(topic, None)

        return end

    def _call(self, topic: str) -> None:
        if topic not in self._callbacks:
            return
        with self._lock:
            callbacks = list(self._callbacks.get(topic, ()))
        for callback in callbacks:
            callback()

    def _call_all(self) -> None:
        for topic in list(self._callbacks):
            self._call(topic)

    def _take(self) -> str | None:
        with self._lock:
            topics, self._rung = self._rung, {}
        return "\n".join([self._origin, *topics]) if topics else None

    def _heard(self, text: str) -> None:
        origin, *topics = text.split("\n")
        if origin != self._origin:
            for topic in topics:
                self._call(topic)
