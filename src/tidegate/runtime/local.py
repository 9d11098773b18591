"""The ways from a server to the worker inside it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

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


class LocalControl:
    """Speaks to the one worker in this process."""

    def __init__(self, worker: Worker, grace_s: float) -> None:
        self._worker = worker
        self._grace_s = grace_s

    def stop(self, worker_id: str) -> None:
        """The server goes on without a worker: jobs wait until it is restarted."""
        threading.Thread(target=self._worker.stop, args=(self._grace_s,), name="tidegate-leave").start()

    def restart_pool(self, worker_id: str) -> None:
        self._worker.restart_pool()

    def reset_stats(self, worker_id: str) -> None:
        self._worker.reset_stats()

    def stats(self, worker_id: str) -> Mapping[str, Any] | None:
        return self._worker.stats() if worker_id == self._worker.info.id else None

    def fault(self) -> str | None:
        return None if self._worker.alive else "The worker inside this server has ended; restart the server."
