"""The rules of alerts: what is watched, which level a figure means, for how long it has to last, and what to do then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise

from tidegate.errors import InvalidInput, NotFound


class Level(IntEnum):
    """How bad it is. `INFO` is all up to the first threshold: nothing to do, and the level of a message that it is over.

    `WARNING` and `SEVERE` lie above their thresholds, `DANGER` begins at its own: the limit, where Tidegate protects itself.
    """

    INFO = 0
    WARNING = 1
    SEVERE = 2
    DANGER = 3

    @property
    def word(self) -> str:
        """As people and programs read it: `warning`."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Level:
        """Raises InvalidInput for a word that names none."""
        try:
            return cls[word.upper()]
        except KeyError:
            known = ", ".join(level.word for level in cls)
            raise InvalidInput(f"A level must be one of {known}, not {word!r:.40}.") from None


ALERTING = (Level.WARNING, Level.SEVERE, Level.DANGER)
"""The levels that are told of, each with a threshold of its own in every rule."""

SERVICE = "service"
"""The subject of figures that are of all together."""
LONGEST_S = 7 * 86_400.0
SHORTEST_REPEAT_S = 60.0
MOST_SLACK = 0.9


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. A threshold that is None is no level of this rule.

    A level is reached when the figure has been beyond its threshold for `hold_s`, and left when it has been back for
    `clear_s`. Back means below the threshold by `slack`, a share of it, so that a figure that dances around its threshold
    changes nothing. `repeat_s`: after so long an alert that nobody has acknowledged is told again.
    """

    name: str
    what: str
    unit: str
    warning: float | None = None
    severe: float | None = None
    danger: float | None = None
    hold_s: float = 60.0
    clear_s: float = 60.0
    slack: float = 0.05
    repeat_s: float = 4 * 3600.0
    enabled: bool = True
    advice: str = ""

    def threshold(self, level: Level) -> float | None:
        """Of one of the levels that are told of."""
        return {Level.WARNING: self.warning, Level.SEVERE: self.severe, Level.DANGER: self.danger}[level]

    def beyond(self, level: Level, value: float) -> bool:
        """Whether a figure is one of this level or a higher one."""
        limit = self.threshold(level)
        if limit is None or not self.enabled:
            return False
        return value >= limit if level is Level.DANGER else value > limit

    def back(self, level: Level, value: float) -> bool:
        """Whether a figure has left this level with the slack that the rule wants."""
        limit = self.threshold(level)
        if limit is None or not self.enabled:
            return True
        below = limit * (1 - self.slack)
        return value < below if level is Level.DANGER else value <= below

    def sentence(self, subject: str, level: Level, value: float) -> str:
        """What is so, with its numbers: `Memory in use of node-1 is 96.2 %, above 95 %.`"""
        alone = subject == SERVICE
        if not self.unit:
            return f"{self.what}." if alone else f"{self.what}: {subject}."
        limit = self.threshold(level) if level is not Level.INFO else None
        told = f"{self.what if alone else f'{self.what} of {subject}'} is {_number(value)} {self.unit}"
        if limit is None:
            return f"{told}."
        return (
            f"{told}, {'at the limit of' if level is Level.DANGER else 'above'} {_number(limit)} {self.unit}."
        )


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _flag(name: str, what: str, advice: str, *, hold_s: float = 0.0, clear_s: float = 0.0) -> Rule:
    """A rule whose figure is 1 while it is so, and 0 while it is not."""
    return Rule(name, what, "", danger=1, hold_s=hold_s, clear_s=clear_s, slack=0.0, advice=advice)


def default_rules(max_waiting: int) -> dict[str, Rule]:
    """Every rule, by name, as it holds until an operator changes it. `max_waiting` is where submissions are refused."""
    rules = (
        Rule(
            "cpu", "CPU in use", "%", 80, 95, 100, hold_s=900.0,
            advice="A machine that is filled to the edge is meant to be busy. Look whether the service still answers quickly. "
            "If not, lower `cpus` or add a worker.",
        ),
        Rule(
            "memory", "Memory in use", "%", 80, 95, 100,
            advice="Find out who uses it: `tidegate jobs --status RUNNING`, then programs that are no jobs. Raise "
            "`headroom_memory` or lower `memory`.",
        ),
        Rule(
            "disk", "Disk in use", "%", 80, 95, 100, slack=0.02,
            advice="Delete sources and results that nobody needs, lower `retention_days`, or enlarge the disk. With 2 % free "
            "the server says that it is not ready.",
        ),
        Rule(
            "queue_length", "Length of the queue", "tasks", 100, 1000, float(max_waiting),
            advice="See `tidegate queues list`, and `tidegate job explain` of a job that waits: a paused queue, a low cap, or "
            "more work than the workers can do. At the limit submissions are refused with 429.",
        ),
        _flag(
            "no_worker", "No worker is online",
            "Nothing starts. Start a worker, and look into the log of the last one. `tidegate doctor` there says what is "
            "missing.",
            hold_s=30.0, clear_s=10.0,
        ),
        Rule(
            "failure_rate", "Share of failed jobs", "%", 10, 50, hold_s=30.0, slack=0.2,
            advice="`tidegate jobs --status FAILED` shows them with their reasons. One reason for all speaks of a broken "
            "source or target, many of a machine in trouble.",
        ),
        Rule(
            "run_time", "Mean run time of jobs", "s", 300, 1800, hold_s=30.0, slack=0.2,
            advice="Look for larger inputs, slow disks and machines short of memory. Where long jobs are usual, raise the "
            "thresholds.",
        ),
        Rule(
            "channel_lost", "Number of failed tries in a row", "tries", 2, slack=0.0, hold_s=0.0, clear_s=0.0,
            advice="`tidegate alerts channels` shows the error, `tidegate alerts test NAME` tries again. Alerts go to the "
            "other channels meanwhile.",
        ),
        Rule(
            "pressure", "Pressure level", "of 3", 0, 1, 3, hold_s=30.0, clear_s=30.0, slack=0.0,
            advice="The machine is overloaded and sheds work by itself. If it lasts, take load off or add a worker.",
        ),
        Rule(
            "crash_loop", "Number of restarts within ten minutes", "restarts", 2, 5, hold_s=0.0, slack=0.0,
            advice="A part of the service keeps ending. Its log says why.",
        ),
        _flag(
            "safe_mode", "The service is in safe mode",
            "Nothing is started. Find out why the part named in the log kept failing, mend it, and leave safe mode.",
        ),
        _flag(
            "ledger", "The ledger does not add up",
            "What is allocated and what runs differ. Keep the database and the logs, and report it: this is a bug.",
        ),
    )  # fmt: skip
    return {rule.name: rule for rule in rules}


CHANGEABLE = ("warning", "severe", "danger", "hold_s", "clear_s", "slack", "repeat_s", "enabled")


def changed(rule: Rule, changes: Mapping[str, float | bool | None]) -> Rule:
    """The rule as an operator wants it. Raises InvalidInput for what cannot be.

    A threshold of None takes the level away. Unknown names are left out: an older Tidegate reads what a newer one has stored.
    """
    known = {name: value for name, value in changes.items() if name in CHANGEABLE}
    made = replace(rule, **known)  # type: ignore[arg-type]  # checked next
    _check(made)
    return made


def as_changed(rule: Rule, changes: Mapping[str, float | bool | None]) -> Rule:
    """The rule with changes that were stored: as it is by default, when these do not go with the defaults of this version."""
    try:
        return changed(rule, changes)
    except InvalidInput:
        return rule


def with_changes(
    rules: Mapping[str, Rule], changes: Mapping[str, Mapping[str, float | bool | None]]
) -> dict[str, Rule]:
    """All rules with what operators have changed. Changes of rules that are not there any more mean nothing."""
    return {name: as_changed(rule, changes.get(name, {})) for name, rule in rules.items()}


def rule_named(rules: Mapping[str, Rule], name: str) -> Rule:
    """Raises NotFound that lists those there are."""
    if name not in rules:
        raise NotFound(f"There is no alert rule {name!r:.40}. There are: {', '.join(sorted(rules))}.")
    return rules[name]


def _check(rule: Rule) -> None:
    limits = [(level.word, limit) for level in ALERTING if (limit := rule.threshold(level)) is not None]
    for name, limit in limits:
        _between(rule, name, limit, 0.0, 1e15)
    for (lower, low), (higher, high) in pairwise(limits):
        if low > high:
            raise InvalidInput(
                f"Rule {rule.name!r}: {lower} ({low:g}) must not lie above {higher} ({high:g}).",
                numbers={"field": lower, "asked": low, "limit": high},
            )
    _between(rule, "hold_s", rule.hold_s, 0.0, LONGEST_S)
    _between(rule, "clear_s", rule.clear_s, 0.0, LONGEST_S)
    _between(rule, "slack", rule.slack, 0.0, MOST_SLACK)
    _between(rule, "repeat_s", rule.repeat_s, SHORTEST_REPEAT_S, 1e9)


def _between(rule: Rule, name: str, value: float, least: float, most: float) -> None:
    if not math.isfinite(value) or not least <= value <= most:
        raise InvalidInput(
            f"Rule {rule.name!r}: {name} must be from {least:g} to {most:g}, not {value:g}.",
            numbers={"field": name, "asked": value, "limit": most if value > most else least},
        )
