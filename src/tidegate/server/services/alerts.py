"""Looks at all figures, judges them by the rules, and stores what comes of it. A duty of the leader."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tidegate.core.alert_rules import Level, Rule, with_changes
from tidegate.core.alerts import Alert, Figure, Key, Rulebook, Standing, decide, look, standing_at
from tidegate.ports import AlertStore, Clock
from tidegate.server.alerts.figures import FigureSource
from tidegate.server.alerts.post import Post
from tidegate.server.leader import Leadership

log = logging.getLogger("tidegate.alerts")


class WatchAlerts:
    """Remembers only for how long figures have been as they are; another leader takes open alerts from the store and begins
    to count anew. `channels` says from which level on each wants to hear."""

    name = "alerts"

    def __init__(
        self,
        store: AlertStore,
        sources: Sequence[FigureSource],
        rules: Mapping[str, Rule],
        channels: Mapping[str, Level],
        post: Post,
        clock: Clock,
        leader: Leadership,
        *,
        interval_s: float = 5.0,
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._sources = sources
        self._rules = rules
        self._channels = channels
        self._post = post
        self._clock = clock
        self._leader = leader
        self._epoch: int | None = None
        self._standings: Mapping[Key, Standing] = {}

    def run_once(self, now: datetime) -> None:
        epoch = self._leader.epoch
        known = self._store.open_alerts()
        if epoch != self._epoch:
            self._standings = {alert.key: standing_at(alert.level, alert.value) for alert in known}
            self._epoch = epoch
        book = Rulebook(self._rules_now(), self._store.silences(now))
        self._standings = look(self._standings, book.rules, self._figures(now), self._clock.monotonic())
        changes = decide(known, self._standings, book, now)
        if changes:
            _log(self._store.record_alerts(changes, self._channels, epoch))
        self._post.wake()

    def _rules_now(self) -> Mapping[str, Rule]:
        changes = {change.rule: change.changes for change in self._store.rule_changes()}
        return with_changes(self._rules, changes)

    def _figures(self, now: datetime) -> Sequence[Figure]:
        found: list[Figure] = []
        missed: set[str] = set()
        for source in self._sources:
            try:
                found += source.figures(now)
            except Exception:
                log.exception("Figures for the alerts %s could not be had.", ", ".join(source.rules))
                missed.update(source.rules)
        # Not known is not the same as gone. What another source knows stands behind, and so counts.
        return [Figure(*key, None) for key in self._standings if key[0] in missed] + found


def _log(stored: Iterable[Alert]) -> None:
    """Whoever has no channel finds alerts in the log."""
    for alert in stored:
        last = alert.moments[-1].what.value
        level = logging.INFO if alert.resolved_at is not None else logging.WARNING
        log.log(level, "Alert %s, %s, %s: %s", alert.id, alert.level.word, last, alert.message)
