"""Alerts: from figures to what is told. Pure: the same figures at the same instants lead to the same alerts.

A figure is judged by its rule into a standing, which remembers for how long the figure has been beyond or back. A standing
above `INFO` is an episode: one alert, raised once, which grows worse or eases, and ends. What is told of it follows from what
is stored of it, so that another server goes on where one has stopped, and tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tidegate.core.alert_rules import ALERTING, Level, Rule

LONGEST_SUBJECT = 200
"""Subjects are cut to so many characters: with its rule, an alert has to fit a database's key."""
MOST_MOMENTS = 100
"""So many of the last moments of an alert are kept: one that eases and worsens for weeks shall not grow for ever."""


class Figure(NamedTuple):
    """One thing that was measured. `value` is None when it could not be: then nothing changes."""

    rule: str
    subject: str
    value: float | None
    note: str = ""
    """What else is known, as a sentence."""


Key = tuple[str, str]
"""Rule and subject: what an alert is about. Of each there is at most one episode at a time."""


class Latch(NamedTuple):
    """Whether a level is reached, and since when the figure says otherwise, on the monotonic clock."""

    on: bool = False
    against_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of a figure from one look to the next: a latch for each level that is told of."""

    latches: tuple[Latch, Latch, Latch] = (Latch(), Latch(), Latch())
    value: float | None = None
    """The last figure; None when what it was of is not seen any more."""
    note: str = ""

    @property
    def level(self) -> Level:
        return max(
            (level for level, latch in zip(ALERTING, self.latches, strict=True) if latch.on),
            default=Level.INFO,
        )


def standing_at(level: Level, value: float | None) -> Standing:
    """Of an alert that another server has raised."""
    one, two, three = (Latch(level >= each) for each in ALERTING)
    return Standing((one, two, three), value)


def judge(rule: Rule, standing: Standing, figure: Figure | None, now_s: float) -> Standing:
    """The standing after one look. A figure that is None is of something that is not there any more, and so back."""
    if figure is not None and figure.value is None:
        # What is not known speaks neither for nor against; whatever had begun to last begins anew.
        one, two, three = (Latch(latch.on) for latch in standing.latches)
        return replace(standing, latches=(one, two, three))
    value = None if figure is None else figure.value
    one, two, three = (
        _turn(rule, level, latch, value, now_s)
        for level, latch in zip(ALERTING, standing.latches, strict=True)
    )
    return Standing((one, two, three), value, "" if figure is None else figure.note)


def _turn(rule: Rule, level: Level, latch: Latch, value: float | None, now_s: float) -> Latch:
    if latch.on:
        against, patience_s = value is None or rule.back(level, value), rule.clear_s
    else:
        against, patience_s = value is not None and rule.beyond(level, value), rule.hold_s
    if not against:
        return Latch(latch.on)
    since_s = now_s if latch.against_since_s is None else latch.against_since_s
    return Latch(not latch.on) if now_s - since_s >= patience_s else Latch(latch.on, since_s)


def look(
    standings: Mapping[Key, Standing], rules: Mapping[str, Rule], figures: Iterable[Figure], now_s: float
) -> dict[Key, Standing]:
    """All standings after one look. Of what is not seen any more nothing is kept once its episode is over."""
    seen = {
        (figure.rule, figure.subject[:LONGEST_SUBJECT]): figure for figure in figures if figure.rule in rules
    }
    made: dict[Key, Standing] = {}
    for key in {**standings, **seen}:
        rule = rules.get(key[0])
        if rule is None:
            continue
        after = judge(rule, standings.get(key, Standing()), seen.get(key), now_s)
        if key in seen or after.level is not Level.INFO:
            made[key] = after
    return made


class Happening(StrEnum):
    """What happens to an alert."""

    RAISED = "raised"
    WORSENED = "worsened"
    EASED = "eased"
    REPEATED = "repeated"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Moment(NamedTuple):
    """One thing that happened to an alert. `by` is who did it; None: it happened by itself."""

    at: datetime
    what: Happening
    level: Level
    text: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode. `id` is 0 until it is stored; `version` grows with each write.

    `told_level` is the highest level that was told of so far, `told_count` how many times anything was.
    """

    rule: str
    subject: str
    level: Level
    value: float | None
    message: str
    raised_at: datetime
    changed_at: datetime
    moments: tuple[Moment, ...] = ()
    resolved_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    told_level: Level = Level.INFO
    told_at: datetime | None = None
    told_count: int = 0
    id: int = 0
    version: int = 0

    @property
    def key(self) -> Key:
        return self.rule, self.subject

    @property
    def open_key(self) -> str | None:
        """What no two episodes may have at a time; None once it is over."""
        return None if self.resolved_at is not None else " ".join(self.key)

    @property
    def state(self) -> str:
        """`open`, `acknowledged` or `resolved`."""
        if self.resolved_at is not None:
            return "resolved"
        return "acknowledged" if self.acknowledged_at is not None else "open"


@dataclass(frozen=True, slots=True)
class Silence:
    """Until its end nobody is told of what it covers. What it covers is raised and kept all the same."""

    rule: str | None
    subject: str | None
    reason: str
    created_by: str
    starts_at: datetime
    ends_at: datetime
    id: int = 0

    def covers(self, key: Key, at: datetime) -> bool:
        """Whether it keeps quiet about this at that instant."""
        rule, subject = key
        return (
            self.rule in (None, rule)
            and self.subject in (None, subject)
            and self.starts_at <= at < self.ends_at
        )

    @property
    def detail(self) -> dict[str, str | float]:
        """What the audit trail keeps of its making."""
        covered = {"rule": self.rule, "subject": self.subject, "reason": self.reason or None}
        minutes = (self.ends_at - self.starts_at).total_seconds() / 60
        return {
            **{name: text for name, text in covered.items() if text is not None},
            "minutes": round(minutes, 1),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be stored of an alert, and what of it is to be told; `tell` is None for nothing."""

    alert: Alert
    tell: Happening | None = None


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What decides besides the figures: the rules, and the silences that may hold."""

    rules: Mapping[str, Rule]
    silences: Sequence[Silence] = field(default_factory=tuple)

    def silent(self, key: Key, at: datetime) -> bool:
        return any(silence.covers(key, at) for silence in self.silences)


def decide(
    open_alerts: Iterable[Alert], standings: Mapping[Key, Standing], book: Rulebook, now: datetime
) -> list[Change]:
    """What has to be written, in the order of keys. Asked again after it was written, it answers nothing."""
    known = {alert.key: alert for alert in open_alerts}
    changes: list[Change] = []
    for key in sorted({*known, *standings}):
        alert, standing = known.get(key), standings.get(key, Standing())
        if alert is None and standing.level is Level.INFO:
            continue
        before = alert or _raise(key, standing, book, now)
        after = _move(before, standing, book, now) if alert is not None else before
        told = _due(after, book, now)
        if told is not None:
            after = _told(after, told, now)
        if alert is None or after != alert:
            changes.append(Change(after, told))
    return changes


def told_channels(alert: Alert, channels: Mapping[str, Level]) -> list[str]:
    """Which channels hear of an alert: those that want its level, be it one that it had earlier; of a lost one the others."""
    return [
        name
        for name, least in channels.items()
        if alert.told_level >= least and alert.key != ("channel_lost", name)
    ]


def acknowledged(alert: Alert, by: str, note: str, now: datetime) -> Alert:
    """The alert when somebody has said that it is seen. An alert that has ended, or was acknowledged, stays as it is."""
    if alert.state != "open":
        return alert
    told = _add(alert, Moment(now, Happening.ACKNOWLEDGED, alert.level, note, by))
    return replace(told, acknowledged_at=now, acknowledged_by=by)


def _raise(key: Key, standing: Standing, book: Rulebook, now: datetime) -> Alert:
    rule, subject = key
    text = _text(key, standing.level, standing, book)
    first = Moment(now, Happening.RAISED, standing.level, text)
    return Alert(rule, subject, standing.level, standing.value, text, now, now, (first,))


def _move(alert: Alert, standing: Standing, book: Rulebook, now: datetime) -> Alert:
    level = standing.level
    if level == alert.level:
        return alert
    what = Happening.WORSENED if level > alert.level else Happening.EASED
    if level is Level.INFO:
        text = _ended(alert, standing, book)
        ended = _add(alert, Moment(now, Happening.RESOLVED, level, text))
        return replace(ended, resolved_at=now, changed_at=now, value=standing.value, message=text)
    text = _text(alert.key, level, standing, book)
    moved = replace(
        _add(alert, Moment(now, what, level, text)),
        level=level, value=standing.value, message=text, changed_at=now,
    )  # fmt: skip
    # Who has acknowledged a warning has not seen the danger.
    return replace(moved, acknowledged_at=None, acknowledged_by=None) if what is Happening.WORSENED else moved


def _due(alert: Alert, book: Rulebook, now: datetime) -> Happening | None:
    """What is to be told of an alert now, if anything."""
    if book.silent(alert.key, now):
        return None
    if alert.resolved_at is not None:
        return Happening.RESOLVED if alert.told_at is not None else None
    if alert.acknowledged_at is not None:
        return None
    if alert.told_at is None:
        return Happening.RAISED
    if alert.level > alert.told_level:
        return Happening.WORSENED
    rule = book.rules.get(alert.rule)
    repeats = rule is not None and now - alert.told_at >= timedelta(seconds=rule.repeat_s)
    return Happening.REPEATED if repeats else None


def _told(alert: Alert, what: Happening, now: datetime) -> Alert:
    if what is Happening.REPEATED:
        alert = _add(alert, Moment(now, what, alert.level, alert.message))
    return replace(
        alert, told_level=max(alert.told_level, alert.level), told_at=now, told_count=alert.told_count + 1
    )


def _add(alert: Alert, moment: Moment) -> Alert:
    kept = (*alert.moments, moment)
    return replace(alert, moments=kept[:1] + kept[1:][-MOST_MOMENTS + 1 :])


def _text(key: Key, level: Level, standing: Standing, book: Rulebook) -> str:
    rule, subject = key
    if standing.value is None:
        return f"{book.rules[rule].what} of {subject}: it is not seen any more."
    sentence = book.rules[rule].sentence(subject, level, standing.value)
    return f"{sentence} {standing.note}".rstrip()


def _ended(alert: Alert, standing: Standing, book: Rulebook) -> str:
    rule = book.rules.get(alert.rule)
    if rule is None or not rule.enabled:
        return f"Over, since the rule is off: {alert.rule}, {alert.subject}."
    if standing.value is None:
        return f"Over, since it is not seen any more: {alert.rule}, {alert.subject}."
    return f"Over: {rule.sentence(alert.subject, Level.INFO, standing.value)}"
