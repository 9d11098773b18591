"""Alerts from figures: when they are raised, grow worse, ease and end, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.alert_rules import ALERTING, Level, Rule, changed, default_rules, rule_named, with_changes
from tidegate.core.alerts import (
    MOST_MOMENTS,
    Alert,
    Change,
    Figure,
    Happening,
    Key,
    Rulebook,
    Silence,
    Standing,
    acknowledged,
    decide,
    look,
    standing_at,
    told_channels,
)
from tidegate.errors import InvalidInput, NotFound

START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = default_rules(200_000)
MEMORY = Rule("memory", "Memory in use", "%", 80, 95, 100, hold_s=60, clear_s=60, repeat_s=3600)


@dataclass
class Watcher:
    """A leader, its store and its clock, all made of plain values."""

    rules: dict[str, Rule] = field(default_factory=lambda: {"memory": MEMORY})
    silences: list[Silence] = field(default_factory=list)
    alerts: dict[int, Alert] = field(default_factory=dict)
    standings: dict[Key, Standing] = field(default_factory=dict)
    told: list[tuple[float, Happening, Level]] = field(default_factory=list)
    now_s: float = 0.0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.now_s)

    def see(self, *figures: Figure) -> list[Change]:
        self.standings = look(self.standings, self.rules, figures, self.now_s)
        changes = decide(self.open, self.standings, Rulebook(self.rules, self.silences), self.now)
        for change in changes:
            known = change.alert
            stored = replace(known, id=known.id or len(self.alerts) + 1, version=known.version + 1)
            self.alerts[stored.id] = stored
            if change.tell is not None:
                self.told.append((self.now_s, change.tell, stored.level))
        return changes

    def watch(self, value: float | None, seconds: float, step_s: float = 5.0) -> None:
        """Look every few seconds while memory stands at this value."""
        for _ in range(int(seconds / step_s)):
            self.now_s += step_s
            self.see(Figure("memory", "node", value))

    @property
    def open(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.resolved_at is None]

    @property
    def events(self) -> list[str]:
        return [what.value for _, what, _ in self.told]


def test_a_figure_above_for_its_hold_time_raises_once_and_resolves_when_it_is_back():
    watcher = Watcher()
    watcher.watch(85, 60)
    assert watcher.told == []
    watcher.watch(85, 600)
    assert watcher.told == [(65, Happening.RAISED, Level.WARNING)]
    (alert,) = watcher.open
    assert alert.message == "Memory in use of node is 85 %, above 80 %."
    watcher.watch(50, 60)
    assert watcher.open == [alert]
    watcher.watch(50, 5)
    assert watcher.open == []
    assert watcher.events == ["raised", "resolved"]
    (ended,) = watcher.alerts.values()
    assert (ended.state, ended.message) == ("resolved", "Over: Memory in use of node is 50 %.")
    assert [moment.what for moment in ended.moments] == [Happening.RAISED, Happening.RESOLVED]
    watcher.watch(85, 65)
    assert len(watcher.alerts) == 2


@pytest.mark.parametrize(
    ("value", "level"),
    [(80, Level.INFO), (80.1, Level.WARNING), (95, Level.WARNING), (95.1, Level.SEVERE), (99.9, Level.SEVERE),
     (100, Level.DANGER)],
)  # fmt: skip
def test_levels_begin_above_their_threshold_and_danger_at_the_limit(value, level):
    watcher = Watcher()
    watcher.watch(value, 65)
    assert [alert.level for alert in watcher.open] == ([level] if level else [])


def test_each_default_rule_fires_and_resolves():
    for rule in RULES.values():
        for level in ALERTING:
            limit = rule.threshold(level)
            if limit is None:
                continue
            watcher = Watcher(rules={rule.name: rule})
            worst = limit if level is Level.DANGER else limit + 0.5
            for _ in range(3):
                watcher.see(Figure(rule.name, "x", worst))
                watcher.now_s += max(rule.hold_s, 1)
            assert [(alert.level, alert.state) for alert in watcher.open] == [(level, "open")], rule.name
            for _ in range(3):
                watcher.see(Figure(rule.name, "x", 0.0))
                watcher.now_s += max(rule.clear_s, 1)
            assert watcher.open == [], rule.name
            assert watcher.events[0] == "raised"
            assert watcher.events[-1] == "resolved"
            assert rule.advice


def test_a_short_peak_raises_nothing():
    watcher = Watcher()
    for _ in range(50):
        watcher.watch(99, 55)
        watcher.watch(70, 5)
    assert watcher.alerts == {}


def test_a_figure_that_dances_around_its_threshold_keeps_its_alert():
    watcher = Watcher()
    for _ in range(100):
        watcher.watch(82, 65)
        watcher.watch(78, 65)  # above 76, which is 80 less the slack
    assert watcher.events[:1] == ["raised"]
    assert len(watcher.alerts) == 1


def test_worse_is_told_and_easing_is_not():
    watcher = Watcher()
    for value in (85, 97, 100, 97, 100, 85, 50):
        watcher.watch(value, 65)
    assert watcher.told == [
        (65, Happening.RAISED, Level.WARNING),
        (130, Happening.WORSENED, Level.SEVERE),
        (195, Happening.WORSENED, Level.DANGER),
        (455, Happening.RESOLVED, Level.WARNING),
    ]
    (alert,) = watcher.alerts.values()
    happened = [moment.what.value for moment in alert.moments]
    assert happened == ["raised", "worsened", "worsened", "eased", "resolved"]


def test_what_cannot_be_measured_changes_nothing():
    watcher = Watcher()
    watcher.watch(85, 40)
    watcher.watch(None, 600)
    watcher.watch(85, 40)
    assert watcher.alerts == {}
    watcher.watch(85, 30)
    watcher.watch(50, 40)
    watcher.watch(None, 600)
    assert len(watcher.open) == 1


def test_what_is_not_there_any_more_resolves():
    watcher = Watcher()
    watcher.watch(85, 65)
    for _ in range(14):
        watcher.now_s += 5
        watcher.see()
    assert watcher.events == ["raised", "resolved"]
    assert watcher.alerts[1].message == "Over, since it is not seen any more: memory, node."
    assert watcher.standings == {}


def test_a_rule_that_is_turned_off_resolves_its_alert():
    watcher = Watcher()
    watcher.watch(85, 65)
    watcher.rules["memory"] = changed(MEMORY, {"enabled": False})
    watcher.watch(85, 65)
    assert watcher.alerts[1].message == "Over, since the rule is off: memory, node."
    watcher.watch(85, 600)
    assert len(watcher.alerts) == 1


def test_an_alert_is_repeated_until_somebody_acknowledges_it():
    watcher = Watcher()
    watcher.watch(85, 65 + 2 * 3600)
    assert watcher.events == ["raised", "repeated", "repeated"]
    (alert,) = watcher.open
    watcher.alerts[alert.id] = acknowledged(alert, "olga", "on it", watcher.now)
    watcher.watch(85, 5 * 3600)
    assert watcher.events == ["raised", "repeated", "repeated"]
    assert watcher.open[0].acknowledged_by == "olga"
    watcher.watch(97, 65)
    assert watcher.events[3:] == ["worsened"]
    assert watcher.open[0].state == "open"  # nobody has seen the worse one yet
    watcher.watch(50, 65)
    assert watcher.events[4:] == ["resolved"]


def test_acknowledging_twice_or_late_changes_nothing():
    watcher = Watcher()
    watcher.watch(85, 65)
    once = acknowledged(watcher.open[0], "olga", "", watcher.now)
    assert acknowledged(once, "paul", "", watcher.now) is once
    ended = replace(once, resolved_at=watcher.now)
    assert acknowledged(ended, "paul", "", watcher.now) is ended


def test_a_silence_tells_nobody_and_ends_by_itself():
    watcher = Watcher()
    end = START + timedelta(seconds=1000)
    watcher.silences = [
        Silence("memory", None, "", "olga", START, end),
        Silence("disk", None, "", "olga", START, end),
    ]
    watcher.watch(85, 995)
    assert (len(watcher.open), watcher.told) == (1, [])
    watcher.watch(85, 10)
    assert watcher.told == [(1000, Happening.RAISED, Level.WARNING)]
    later = Silence(None, "node", "", "olga", watcher.now, watcher.now + timedelta(days=1))
    watcher.silences = [later]
    watcher.watch(97, 4 * 3600)
    watcher.watch(50, 65)
    assert watcher.events == ["raised"]
    assert watcher.open == []


def test_of_what_nobody_was_told_no_end_is_told():
    watcher = Watcher(silences=[Silence(None, None, "", "olga", START, START + timedelta(seconds=1000))])
    watcher.watch(85, 70)
    watcher.watch(50, 70)
    assert (watcher.told, len(watcher.alerts)) == ([], 1)


def test_another_leader_goes_on_where_one_has_stopped():
    watcher = Watcher()
    watcher.watch(97, 65)
    watcher.standings = {alert.key: standing_at(alert.level, 97) for alert in watcher.open}
    watcher.watch(97, 600)
    assert watcher.events == ["raised"]
    watcher.watch(50, 65)
    assert watcher.events == ["raised", "resolved"]


def test_an_alert_of_a_rule_that_is_gone_ends():
    watcher = Watcher()
    watcher.watch(85, 65)
    watcher.rules = {}
    watcher.watch(85, 5)
    assert watcher.open == []


def test_a_lost_channel_is_told_to_the_others_and_levels_are_heeded():
    channels = {"mail": Level.WARNING, "sms": Level.DANGER}
    watcher = Watcher()
    watcher.watch(85, 65)
    (alert,) = watcher.open
    assert told_channels(alert, channels) == ["mail"]
    assert told_channels(replace(alert, told_level=Level.DANGER), channels) == ["mail", "sms"]
    assert told_channels(replace(alert, rule="channel_lost", subject="mail"), channels) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warning": 96.0}, "warning"),
        ({"severe": -1.0}, "severe"),
        ({"danger": float("nan")}, "danger"),
        ({"hold_s": -1.0}, "hold_s"),
        ({"slack": 0.95}, "slack"),
        ({"repeat_s": 1.0}, "repeat_s"),
    ],
)
def test_rules_that_cannot_be_are_refused(changes, words):
    with pytest.raises(InvalidInput, match=words) as refused:
        changed(MEMORY, changes)
    assert refused.value.numbers["field"] == words


def test_changes_of_rules_that_a_newer_tidegate_knows_are_left_out():
    made = with_changes(RULES, {"memory": {"warning": 70.0, "colour": 3.0}, "humidity": {"warning": 1.0}})
    assert made["memory"].warning == 70
    assert set(made) == set(RULES)
    with pytest.raises(NotFound, match="memory"):
        rule_named(RULES, "humidity")
    with pytest.raises(InvalidInput, match="severe"):
        Level.of("awful")


VALUES = st.one_of(st.none(), st.floats(0, 120))
STEPS = st.lists(st.tuples(st.floats(0.25, 400), VALUES), max_size=80)


@given(STEPS)
def test_the_same_figures_lead_to_the_same_alerts(steps: Sequence[tuple[float, float | None]]):
    first, second = Watcher(), Watcher()
    for watcher in (first, second):
        for step_s, value in steps:
            watcher.now_s += step_s
            watcher.see(Figure("memory", "node", value))
    assert (first.alerts, first.told) == (second.alerts, second.told)


@given(STEPS, st.floats(0, 200), st.floats(0, 200))
def test_nothing_flaps_and_each_episode_is_raised_and_ended_once(
    steps: Sequence[tuple[float, float | None]], hold_s: float, clear_s: float
):
    watcher = Watcher(rules={"memory": replace(MEMORY, hold_s=hold_s, clear_s=clear_s)})
    changes_at: list[tuple[float, bool]] = []
    for step_s, value in steps:
        watcher.now_s += step_s
        before = {alert.id: alert.level for alert in watcher.open}
        watcher.see(Figure("memory", "node", value))
        after = {alert.id: alert.level for alert in watcher.open}
        assert len(after) <= 1
        if before != after:
            changes_at.append(
                (watcher.now_s, max(after.values(), default=0) > max(before.values(), default=0))
            )
        assert watcher.see(Figure("memory", "node", value)) == []  # asked again at the same instant
    for (earlier_s, rose), (later_s, rises) in pairwise(changes_at):
        if rose != rises:
            assert later_s - earlier_s >= (hold_s if rises else clear_s) - 1e-6
    for alert in watcher.alerts.values():
        happened = [moment.what for moment in alert.moments]
        assert happened.count(Happening.RAISED) == 1
        assert happened.count(Happening.RESOLVED) == (alert.resolved_at is not None)
        assert len(happened) <= MOST_MOMENTS
    told = [what for _, what, _ in watcher.told]
    assert told.count(Happening.RAISED) == len(watcher.alerts)
    assert told.count(Happening.RESOLVED) == len(watcher.alerts) - len(watcher.open)
    levels = [level for _, what, level in watcher.told if what is not Happening.RESOLVED]
    assert all(level > Level.INFO for level in levels)


@given(st.floats(0, 120), st.sampled_from(list(RULES.values())))
def test_a_figure_is_never_beyond_and_back_at_once(value: float, rule: Rule):
    for level in ALERTING:
        assert not (rule.beyond(level, value) and rule.back(level, value))
