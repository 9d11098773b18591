"""The bell inside one process."""

from __future__ import annotations

import threading
from collections.abc import Callable


class LocalBell:
    """Calls back, in the ringing thread, everyone who subscribed to the topic. Ringing for nobody costs a look-up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[str, list[Callable[[], None]]] = {}

    def ring(self, topic: str) -> None:
        callbacks = self._callbacks.get(topic)
        if callbacks is None:
            return
        with self._lock:
            callbacks = list(callbacks)
        for callback in callbacks:
            callback()

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.setdefault(topic, []).append(callback)

        def end() -> None:
            with self._lock:
                callbacks = self._callbacks.get(topic, [])
                if callback in callbacks:
                    callbacks.remove(callback)
                if not callbacks:
                    self._callbacks.pop(topic, None)

        return end
