"""How far running tasks have come. Lives in memory only: a figure for watchers, not a fact."""

from __future__ import annotations

from tidegate.core.job import AttemptKey, TaskKey
from tidegate.ports import Bell


class ProgressBoard:
    """The newest share done (0 to 1) of each running task."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._shares: dict[TaskKey, float] = {}

    def moved(self, key: AttemptKey, share: float) -> None:
        self._shares[key.task] = min(max(share, 0.0), 1.0)
        self._bell.ring(f"job:{key.job_id}")

    def ended(self, key: AttemptKey) -> None:
        self._shares.pop(key.task, None)

    def of(self, key: TaskKey) -> float | None:
        return self._shares.get(key)
