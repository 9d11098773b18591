"""How far running tasks have come. Lives in memory only: a figure for watchers, not a fact."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.core.job import AttemptKey, TaskKey
from tidegate.ports import Bell


class ProgressBoard:
    """The newest share done (0 to 1, None while unknown) and the peak memory so far of each running task.

    Told by one thread, read by any.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._jobs: dict[int, dict[int, tuple[float | None, int]]] = {}

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None:
        bounded = None if share is None else min(max(share, 0.0), 1.0)
        self._jobs.setdefault(key.job_id, {})[key.number] = (bounded, peak_memory_bytes)
        self._bell.ring(f"job:{key.job_id}")

    def ended(self, key: AttemptKey) -> None:
        running = self._jobs.get(key.job_id, {})
        running.pop(key.number, None)
        if not running:
            self._jobs.pop(key.job_id, None)

    def refused(self, keys: Sequence[AttemptKey]) -> None:
        """What was not claimed has not come anywhere."""

    def share(self, key: TaskKey) -> float | None:
        return self._jobs.get(key.job_id, {}).get(key.number, (None, 0))[0]

    def shares(self, job_id: int) -> float:
        """The sum of the shares of a job's running tasks."""
        return sum(share or 0.0 for share, _ in self._running(job_id))

    def peak_memory_bytes(self, job_id: int) -> int | None:
        """The highest of a job's running tasks; None when none runs or has been looked at yet."""
        return max((peak for _, peak in self._running(job_id)), default=None)

    def _running(self, job_id: int) -> list[tuple[float | None, int]]:
        return list(self._jobs.get(job_id, {}).values())
