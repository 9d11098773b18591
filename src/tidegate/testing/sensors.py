"""A sensor that tells what it is told to."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class FakeSensor:
    """Tells what was last set. Thread-safe."""

    def __init__(self, **values: float) -> None:
        self._lock = threading.Lock()
        self._values = dict(values)

    def set(self, **values: float) -> None:
        """Tell these, and nothing else, from now on."""
        with self._lock:
            self._values = dict(values)

    def read(self) -> Mapping[str, float]:
        with self._lock:
            return dict(self._values)
