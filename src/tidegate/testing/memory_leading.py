"""`LeaderStore` in memory."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.errors import NotLeader
from tidegate.testing.memory_state import MemoryState, locked


class MemoryLeading(MemoryState):
    """`LeaderStore` in memory."""

    @locked
    def lead(self, holder: str, at: datetime, lease_s: float) -> int | None:
        if self._lead_until is None or self._lead_until <= at:
            return self.seize(holder, at, lease_s)
        if self._leader != holder:
            return None
        self._lead_until = at + timedelta(seconds=lease_s)
        return self._epoch

    @locked
    def seize(self, holder: str, at: datetime, lease_s: float) -> int:
        self._epoch += 1
        self._leader, self._lead_until = holder, at + timedelta(seconds=lease_s)
        return self._epoch

    @locked
    def resign(self, holder: str, epoch: int, at: datetime) -> bool:
        if (self._leader, self._epoch) != (holder, epoch):
            return False
        self._leader, self._lead_until = None, None
        return True

    def _must_lead(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise NotLeader(
                f"Another server leads under epoch {self._epoch}; nothing that was decided under epoch {epoch} is stored.",
                numbers={"epoch": self._epoch, "own_epoch": epoch},
            )
