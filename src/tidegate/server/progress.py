"""How far running tasks have come. Lives in memory only: a figure for watchers, not a fact."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.core.job import AttemptKey, TaskKey
from tidegate.ports import Bell


class ProgressBoard:
    """The newest share done (0 to 1, None while unknown) and the peak memory so far of each running task."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._tasks: dict[TaskKey, tuple[float | None, int]] = {}

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None:
        bounded = None if share is None else min(max(share, 0.0), 1.0)
        self._tasks[key.task] = (bounded, peak_memory_bytes)
        self._bell.ring(f"job:{key.job_id}")

    def ended(self, key: AttemptKey) -> None:
        self._tasks.pop(key.task, None)

    def refused(self, keys: Sequence[AttemptKey]) -> None:
        """What was not claimed has not come anywhere."""

    def share(self, key: TaskKey) -> float | None:
        return self._tasks.get(key, (None, 0))[0]

    def peak_memory_bytes(self, key: TaskKey) -> int | None:
        """None when the task does not run or has not been looked at yet."""
        task = self._tasks.get(key)
        return task[1] if task else None
