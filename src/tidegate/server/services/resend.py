"""Sends starts again that no worker has claimed: what carried them may have been lost on the way."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from tidegate.ports import AttemptStore, Launcher

log = logging.getLogger("tidegate.resend")


class Resend:
    """Looks for starts older than `after_s` that are unclaimed, and launches them again at each look.

    A start that arrives twice is claimed once. For a launcher in the same process there is nothing to be lost.
    """

    name = "resend"

    def __init__(self, store: AttemptStore, launcher: Launcher, *, after_s: float) -> None:
        self.interval_s = after_s / 2
        self._store = store
        self._launcher = launcher
        self._after = timedelta(seconds=after_s)

    def run_once(self, now: datetime) -> None:
        starts = self._store.unclaimed(now - self._after)
        if starts:
            log.warning("%d starts were not claimed in time; they are sent again.", len(starts))
            self._launcher.launch(starts)
