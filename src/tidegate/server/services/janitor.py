"""Removes what nobody needs any more: results nothing refers to, folders of ended attempts, finished jobs past retention."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from tidegate.core.name_set import NameSet
from tidegate.core.names import OUTPUT_PREFIX, PARTS
from tidegate.ports import Store

log = logging.getLogger("tidegate.janitor")

ANSWERED_S = 600.0
"""The answer of a job of the service's own is sent when the job ends and then removed; what is left so long after has lost its
reader. A download under way has the file open, which is enough."""
OLDEST_UPLOAD_S = 24 * 3600.0
"""An upload to which nothing was added for so long has ended."""
YOUNGEST_S = 3600.0
"""A file this young may belong to an attempt whose end is not yet committed."""
RUNS_KEPT = timedelta(days=90)
"""Runs of hosts that never came back, as containers that were killed, are forgotten then. The crash of a process that
has run for longer is not told at its next start."""
CRASHES_KEPT = timedelta(days=1)
"""For at least so long crashes are kept, however short the retention: delays and safe mode look back upon them."""


class Janitor:
    """Keeps the data directory to what the store knows of. `at_start` removes young files too: nothing runs then.

    Folders among the results that are no output of an attempt are nobody's of ours and stay.
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
        audit_retention: timedelta,
        archive: timedelta | None = None,
        readings: timedelta | None = None,
        kept_bytes: int = 0,
        alert_retention: timedelta = timedelta(days=90),
        usage_retention: timedelta | None = None,
        interval_s: float = 600.0,
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._results = results
        self._attempts = attempts
        self._logs = logs
        self._incoming = incoming
        self._retention = retention
        self._audit_retention = audit_retention
        self._archive = archive or retention
        self._readings = readings or retention
        self._kept_bytes = kept_bytes
        self._alert_retention = alert_retention
        self._usage_retention = usage_retention or retention

    def at_start(self, now: datetime) -> None:
        for folder in self._attempts.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._remove_unnamed_results(self._named(now), lambda path: True)

    def run_once(self, now: datetime) -> None:
        pruned = self._store.prune(now - self._retention)
        if pruned:
            log.info("%s finished jobs past their retention were deleted.", pruned)
        self._store.prune_audit(now - self._audit_retention)
        self._store.prune_archive(now - self._archive)
        self._store.prune_samples(now - self._readings)
        self._store.prune_kept(now - self._retention, self._kept_bytes)
        self._store.prune_alerts(now - self._alert_retention)
        self._store.prune_usage(now - self._usage_retention)
        self._store.prune_reports(now - self._usage_retention)
        self._store.prune_crashes(now - max(self._retention, CRASHES_KEPT))
        self._store.prune_runs(now - RUNS_KEPT)
        oldest = now.timestamp() - self._retention.total_seconds()
        for folder in _entries(self._logs):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder.path, ignore_errors=True)
        self._remove_leavings(now)
        named = self._named()
        self._remove_answers(named, self._named(now - timedelta(seconds=ANSWERED_S)))
        self._remove_unnamed_results(named, lambda entry: _age_s(entry, now) > YOUNGEST_S)

    def _remove_leavings(self, now: datetime) -> None:
        """Folders of attempts that hold nothing any more, and uploads that were never finished: of workers and servers that
        died, and that are not started here again."""
        held = {str(held.key) for held in self._store.held()}
        for folder in self._attempts.iterdir():
            if folder.name not in held and _age_s(folder, now) > YOUNGEST_S:
                shutil.rmtree(folder, ignore_errors=True)
        for upload in self._incoming.iterdir() if self._incoming.is_dir() else ():
            if _age_s(upload, now) > OLDEST_UPLOAD_S:
                upload.unlink(missing_ok=True)

    def _named(self, answered_before: datetime | None = None) -> NameSet:
        """By name alone: a data directory that was moved, or is mounted elsewhere, still has its results."""
        names = NameSet()
        self._store.each_managed_path(lambda path: names.add(os.path.basename(path)), answered_before)
        return names

    def _remove_answers(self, named: NameSet, needed: NameSet) -> None:
        for entry in _entries(self._results):
            if entry.name in named and entry.name not in needed:
                Path(entry.path).unlink(missing_ok=True)

    def _remove_unnamed_results(self, named: NameSet, old_enough: Callable[[os.DirEntry[str]], bool]) -> None:
        for entry in itertools.chain(_entries(self._results), _entries(self._results / PARTS)):
            if entry.name in named or not old_enough(entry):
                continue
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)
            elif entry.name.startswith(OUTPUT_PREFIX):
                shutil.rmtree(entry.path, ignore_errors=True)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, one after the other: there may be very many results. Nothing where there is no folder."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries


def _age_s(path: Path | os.DirEntry[str], now: datetime) -> float:
    """0 for what is gone."""
    try:
        return now.timestamp() - path.stat().st_mtime
    except OSError:
        return 0.0
