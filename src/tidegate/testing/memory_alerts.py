"""`AlertStore` in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Change, Happening, Silence, acknowledged, told_channels
from tidegate.core.identity import Action, Caller
from tidegate.core.states import JobStatus
from tidegate.errors import NotFound
from tidegate.ports import AlertFilter, ChannelState, Notice, RuleChange, RuleChanges, WorkDone
from tidegate.testing.memory_leading import MemoryLeading
from tidegate.testing.memory_state import locked


class MemoryAlerts(MemoryLeading):
    """`AlertStore` in memory."""

    def __init__(self, *, max_concurrent: int | None = None) -> None:
        super().__init__(max_concurrent=max_concurrent)
        self._alerts: dict[int, Alert] = {}
        self._notices: dict[tuple[int, int, str], tuple[Notice, datetime | None]] = {}
        """Each with the instant from which on it may be taken."""
        self._silences: dict[int, Silence] = {}
        self._rules: dict[str, RuleChange] = {}
        self._channels: dict[str, ChannelState] = {}

    @locked
    def open_alerts(self) -> list[Alert]:
        return [alert for _, alert in sorted(self._alerts.items()) if alert.resolved_at is None]

    @locked
    def alerts(self, filter: AlertFilter) -> list[Alert]:
        found = [
            alert
            for number, alert in sorted(self._alerts.items(), reverse=True)
            if alert.level >= filter.level
            and filter.state in (None, alert.state, "active" if alert.resolved_at is None else None)
            and filter.rule in (None, alert.rule)
            and (filter.before_id is None or number < filter.before_id)
        ]
        return found[: filter.limit]

    @locked
    def alert(self, alert_id: int) -> Alert:
        if alert_id not in self._alerts:
            raise NotFound(f"There is no alert {alert_id}.")
        return self._alerts[alert_id]

    @locked
    def record_alerts(
        self, changes: Sequence[Change], channels: Mapping[str, Level], epoch: int
    ) -> list[Alert]:
        self._must_lead(epoch)
        stored = []
        for change in changes:
            alert = self._write(change.alert)
            if alert is not None:
                stored.append(alert)
                self._add_notices(alert, change.tell, told_channels(alert, channels))
        return stored

    def _write(self, alert: Alert) -> Alert | None:
        if alert.version:
            if self._alerts[alert.id].version != alert.version:
                return None
        elif alert.open_key in {known.open_key for known in self.open_alerts()}:
            return None
        written = replace(alert, version=alert.version + 1, id=alert.id or len(self._alerts) + 1)
        self._alerts[written.id] = written
        return written

    def _add_notices(self, alert: Alert, what: Happening | None, channels: Sequence[str]) -> None:
        if what is None or alert.told_at is None:
            return
        level = Level.INFO if what is Happening.RESOLVED else alert.level
        for channel in channels:
            notice = Notice(
                alert.id, alert.told_count, channel, what, level, alert.rule, alert.subject, alert.message,
                alert.value, alert.raised_at, alert.told_at,
            )  # fmt: skip
            self._notices[_key(notice)] = notice, alert.told_at

    @locked
    def acknowledge_alert(self, alert_id: int, at: datetime, by: Caller, note: str = "") -> Alert:
        known = self.alert(alert_id)
        seen = acknowledged(known, by.owner, note, at)
        if seen is not known:
            self._alerts[alert_id] = replace(seen, version=known.version + 1)
            detail = {"rule": known.rule, "subject": known.subject}
            self._note(by, Action.ACKNOWLEDGE_ALERT, f"alert {alert_id}", **detail)
        return self._alerts[alert_id]

    @locked
    def silences(self, at: datetime | None = None) -> list[Silence]:
        return [one for _, one in sorted(self._silences.items()) if at is None or one.ends_at > at]

    @locked
    def add_silence(self, silence: Silence, by: Caller) -> Silence:
        made = replace(silence, id=len(self._silences) + 1)
        self._silences[made.id] = made
        self._note(by, Action.SILENCE_ALERTS, f"silence {made.id}", **made.detail)
        return made

    @locked
    def end_silence(self, silence_id: int, at: datetime, by: Caller) -> Silence:
        known = self._silences.get(silence_id)
        if known is None:
            raise NotFound(
                f"There is no silence {silence_id}. `tidegate alerts silences` shows those there are."
            )
        if known.ends_at > at:
            known = self._silences[silence_id] = replace(known, ends_at=at)
            self._note(by, Action.SILENCE_ALERTS, f"silence {silence_id}", ended=True)
        return known

    @locked
    def rule_changes(self) -> list[RuleChange]:
        return [self._rules[name] for name in sorted(self._rules)]

    @locked
    def change_rule(self, rule: str, changes: RuleChanges | None, at: datetime, by: Caller) -> None:
        known = self._rules.pop(rule, None)
        if changes is not None:
            merged = {**(known.changes if known else {}), **changes}
            self._rules[rule] = RuleChange(rule, merged, at, by.owner)
        self._note(by, Action.CHANGE_ALERT_RULE, f"rule {rule}", **(changes or {"defaults": True}))

    @locked
    def notices(self, alert_id: int) -> list[Notice]:
        return [notice for key, (notice, _) in sorted(self._notices.items()) if key[0] == alert_id]

    @locked
    def claim_notice(self, channel: str, at: datetime, until: datetime) -> Notice | None:
        unsent = [
            (due, one) for one, due in self._notices.values() if due is not None and one.channel == channel
        ]
        due = sorted(
            (due_at, one.alert_id, one.number)
            for due_at, one in unsent
            if due_at <= at
            and not any(other.alert_id == one.alert_id and other.number < one.number for _, other in unsent)
        )
        if not due:
            return None
        _, alert_id, number = due[0]
        notice, _ = self._notices[alert_id, number, channel]
        taken = replace(notice, state="sending", tries=notice.tries + 1)
        self._notices[_key(taken)] = taken, until
        return taken

    @locked
    def end_notice(
        self, notice: Notice, at: datetime, error: str | None = None, again_at: datetime | None = None
    ) -> bool:
        self.note_channel(notice.channel, at, error)
        known, due_at = self._notices[_key(notice)]
        if due_at is None or known.tries != notice.tries:
            return False
        if error is None:
            ended = replace(known, state="sent", ended_at=at, error=None)
        elif again_at is None:
            ended = replace(known, state="given_up", ended_at=at, error=error)
        else:
            ended = replace(known, state="waiting", error=error)
        self._notices[_key(notice)] = ended, again_at if error is not None else None
        return True

    @locked
    def channel_states(self) -> list[ChannelState]:
        return [self._channels[name] for name in sorted(self._channels)]

    @locked
    def note_channel(self, name: str, at: datetime, error: str | None) -> None:
        known = self._channels.get(name, ChannelState(name))
        if error is None:
            self._channels[name] = replace(known, failures=0, worked_at=at, error=None)
        else:
            self._channels[name] = replace(known, failures=known.failures + 1, failed_at=at, error=error)

    @locked
    def work_done(self, since: datetime, until: datetime) -> WorkDone:
        ended = [
            job
            for job in self._jobs.values()
            if job.finished_at is not None
            and since <= job.finished_at < until
            and job.status() in (JobStatus.SUCCEEDED, JobStatus.FAILED)
        ]
        runs = [
            (job.finished_at - job.started_at).total_seconds()
            for job in ended
            if job.finished_at is not None and job.started_at is not None
        ]
        failed = sum(job.status() is JobStatus.FAILED for job in ended)
        return WorkDone(len(ended), failed, len(runs), sum(runs))

    @locked
    def prune_alerts(self, before: datetime) -> int:
        old = {number for number, one in self._alerts.items() if one.resolved_at and one.resolved_at < before}
        self._alerts = {number: one for number, one in self._alerts.items() if number not in old}
        self._notices = {key: kept for key, kept in self._notices.items() if key[0] not in old}
        self._silences = {key: one for key, one in self._silences.items() if one.ends_at >= before}
        return len(old)


def _key(notice: Notice) -> tuple[int, int, str]:
    return notice.alert_id, notice.number, notice.channel
