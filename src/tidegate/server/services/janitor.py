"""Removes what nobody needs any more: results nothing refers to, folders of ended attempts, finished jobs past retention."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tidegate.ports import Store

log = logging.getLogger("tidegate.janitor")

YOUNGEST_S = 3600.0
"""A file this young may belong to an attempt whose end is not yet committed."""


class Janitor:
    """Keeps the data directory to what the store knows of. `at_start` removes young files too: nothing runs then.

    Folders among the results are nobody's of ours and stay.
    """

    name = "janitor"

    def __init__(
        self,
        store: Store,
        *,
        results: Path,
        attempts: Path,
        logs: Path,
        incoming: Path,
        retention: timedelta,
        interval_s: float = 600.0,
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._results = results
        self._attempts = attempts
        self._logs = logs
        self._incoming = incoming
        self._retention = retention

    def at_start(self) -> None:
        for folder in self._attempts.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._remove_unnamed_results(lambda path: True)

    def run_once(self, now: datetime) -> None:
        pruned = self._store.prune(now - self._retention)
        if pruned:
            log.info("%s finished jobs past their retention were deleted.", pruned)
        oldest = now.timestamp() - self._retention.total_seconds()
        for folder in self._logs.iterdir():
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
        self._remove_unnamed_results(lambda path: now.timestamp() - path.stat().st_mtime > YOUNGEST_S)

    def _remove_unnamed_results(self, old_enough: Callable[[Path], bool]) -> None:
        # By name alone: a data directory that was moved, or is mounted elsewhere, still has its results.
        named = {os.path.basename(path) for path in self._store.managed_paths()}
        for path in self._results.iterdir():
            if path.name not in named and not path.is_dir() and old_enough(path):
                path.unlink(missing_ok=True)
