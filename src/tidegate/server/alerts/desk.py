"""What people may do with alerts: look, acknowledge, silence, change rules, test channels. Every call blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta

from tidegate.core.alert_rules import Level, Rule, as_changed, changed, rule_named
from tidegate.core.alerts import LONGEST_SUBJECT, Alert, Rulebook, Silence
from tidegate.core.identity import Action, Caller, entry
from tidegate.errors import InvalidInput
from tidegate.ports import (
    AlertFilter,
    Channel,
    ChannelState,
    Clock,
    Notice,
    RuleChange,
    RuleChanges,
    Store,
)
from tidegate.server.alerts.messages import trial_message
from tidegate.server.alerts.post import Post

LONGEST_SILENCE_MINUTES = 60 * 24 * 31


@dataclass(frozen=True, slots=True)
class RuleNow:
    """A rule as it holds, and who has changed it last, if anybody has."""

    rule: Rule
    change: RuleChange | None


class AlertDesk:
    """The verbs. `rules` are the defaults; `channels` says from which level on each channel wants to hear."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rules: Mapping[str, Rule],
        channels: Mapping[str, Level],
        post: Post,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._least = channels
        self._post = post

    def list(self, filter: AlertFilter) -> Sequence[tuple[Alert, bool]]:
        """Each with whether a silence covers it now."""
        return self._with_silence(self._store.alerts(filter))

    def get(self, alert_id: int) -> tuple[Alert, bool, Sequence[Notice]]:
        """With its messages. Raises NotFound."""
        ((alert, silent),) = self._with_silence([self._store.alert(alert_id)])
        return alert, silent, self._store.notices(alert_id)

    def advice(self, rule: str) -> str:
        """What to do about an alert of this rule; nothing for a rule of another version. Does not block."""
        return self._rules[rule].advice if rule in self._rules else ""

    def acknowledge(self, alert_id: int, by: Caller, note: str = "") -> tuple[Alert, bool]:
        """It is not repeated any more, unless it grows worse. Raises NotFound."""
        return self._with_silence([self._store.acknowledge_alert(alert_id, self._clock.now(), by, note)])[0]

    def silences(self) -> Sequence[Silence]:
        """Those that have not ended."""
        return self._store.silences(self._clock.now())

    def silence(
        self, by: Caller, rule: str | None, subject: str | None, minutes: float, reason: str
    ) -> Silence:
        """Keep quiet about a rule, a subject, both together, or everything. Raises NotFound, InvalidInput."""
        if rule is not None:
            rule_named(self._rules, rule)
        if not 0 < minutes <= LONGEST_SILENCE_MINUTES:
            raise InvalidInput(
                f"minutes must be more than 0 and at most {LONGEST_SILENCE_MINUTES} (31 days), not {minutes:g}.",
                numbers={"field": "minutes", "asked": minutes, "limit": LONGEST_SILENCE_MINUTES},
            )
        now = self._clock.now()
        subject = subject[:LONGEST_SUBJECT] if subject is not None else None
        made = Silence(rule, subject, reason, by.owner, now, now + timedelta(minutes=minutes))
        return self._store.add_silence(made, by)

    def end_silence(self, silence_id: int, by: Caller) -> Silence:
        """Raises NotFound."""
        return self._store.end_silence(silence_id, self._clock.now(), by)

    def rules(self) -> Sequence[RuleNow]:
        """All, in order of name."""
        known = {change.rule: change for change in self._store.rule_changes()}
        return [self._now(name, known.get(name)) for name in sorted(self._rules)]

    def rule(self, name: str) -> RuleNow:
        """Raises NotFound."""
        rule_named(self._rules, name)
        return next(one for one in self.rules() if one.rule.name == name)

    def change_rule(self, name: str, changes: RuleChanges, by: Caller) -> RuleNow:
        """What is named changes, the rest stays. Holds from the next look on. Raises NotFound, InvalidInput."""
        changed(self.rule(name).rule, changes)
        self._store.change_rule(name, changes, self._clock.now(), by)
        return self.rule(name)

    def reset_rule(self, name: str, by: Caller) -> RuleNow:
        """Back to its defaults. Raises NotFound."""
        rule_named(self._rules, name)
        self._store.change_rule(name, None, self._clock.now(), by)
        return self.rule(name)

    def channels(self) -> Sequence[tuple[Channel, Level, ChannelState]]:
        """Each with the level from which on it wants to hear, and how it does."""
        return [(channel, self._least[channel.name], state) for channel, state in self._post.channels()]

    def test(self, name: str, by: Caller) -> Future[str | None]:
        """Send a test message, from this server; None when that went well, or why not. Raises NotFound."""
        answer = self._post.test(name, trial_message(self._post.place, by.owner, self._clock.now()))
        self._store.add_audit([entry(by, Action.TEST_CHANNEL, f"channel {name}")])
        return answer

    def _now(self, name: str, change: RuleChange | None) -> RuleNow:
        return RuleNow(as_changed(self._rules[name], change.changes if change is not None else {}), change)

    def _with_silence(self, alerts: Sequence[Alert]) -> Sequence[tuple[Alert, bool]]:
        now = self._clock.now()
        book = Rulebook(self._rules, self._store.silences(now))
        return [(alert, book.silent(alert.key, now)) for alert in alerts]
