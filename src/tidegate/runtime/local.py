"""The launcher for the worker inside the server."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.runtime.worker import Worker


class LocalLauncher:
    """Hands starts and cancels to the one worker in this process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def launch(self, starts: Sequence[Start]) -> None:
        self._worker.launch(starts)

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        self._worker.cancel(keys)
