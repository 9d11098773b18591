"""Queues tasks whose time has come."""

from __future__ import annotations

from datetime import datetime

from tidegate.ports import Bell, ScheduleStore
from tidegate.server.leader import Leadership


class Wake:
    """Moves scheduled tasks to their queue once `not_before` has come, at most `interval_s` late."""

    name = "wake"

    def __init__(
        self, store: ScheduleStore, bell: Bell, leader: Leadership, *, interval_s: float = 0.5
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._bell = bell
        self._leader = leader

    def run_once(self, now: datetime) -> None:
        self._store.wake_scheduled(now, self._leader.epoch)
        self._bell.ring("schedule")
