"""Adds up what jobs used, hour by hour, so that nobody who asks has to wait for a look at each of them."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.ports import UsageStore

SETTLED = timedelta(minutes=5)
"""An hour is added up so long after its end, when what ended in it has been told."""


class CountUsage:
    """A duty of the leader. Should an end be told later still, its hour is added up anew."""

    name = "usage"
    interval_s = 120.0

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    def run_once(self, now: datetime) -> None:
        self._store.count_usage(now - SETTLED)
