"""What the levels allow."""

from __future__ import annotations

from itertools import pairwise

from tidegate.core.criticality import Criticality, of_priority
from tidegate.core.job import Priority
from tidegate.core.overload import RULES, Allowed, only_watching, refuses, starts
from tidegate.core.pressure import Level

SHEDDABLE, SHEDDABLE_PLUS, CRITICAL, CRITICAL_PLUS, CONTROL = Criticality


def refused(level: Level, severity: float = 1.0, chance: float = 0.999) -> set[Criticality]:
    return {work for work in Criticality if refuses(RULES[level], work, severity, chance)}


def started(level: Level) -> set[Criticality]:
    return {work for work in Criticality if starts(RULES[level], work)}


def test_priorities_have_classes() -> None:
    assert [of_priority(priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)] == [
        SHEDDABLE,
        CRITICAL,
        CRITICAL_PLUS,
    ]


def test_each_level_refuses_what_the_rule_set_says() -> None:
    assert refused(Level.NORMAL) == set()
    assert refused(Level.WARN) == {SHEDDABLE}
    assert refused(Level.CRITICAL) == {SHEDDABLE, SHEDDABLE_PLUS}
    assert refused(Level.EMERGENCY) == {SHEDDABLE, SHEDDABLE_PLUS, CRITICAL}


def test_each_level_starts_what_the_rule_set_says() -> None:
    assert started(Level.NORMAL) == set(Criticality)
    assert started(Level.WARN) == set(Criticality) - {SHEDDABLE}
    assert started(Level.CRITICAL) == {CRITICAL_PLUS, CONTROL}
    assert started(Level.EMERGENCY) == set()


def test_warn_refuses_by_chance() -> None:
    assert refuses(RULES[Level.WARN], SHEDDABLE, 0.3, 0.29)
    assert not refuses(RULES[Level.WARN], SHEDDABLE, 0.3, 0.3)
    assert not refuses(RULES[Level.WARN], SHEDDABLE, 0.0, 0.0)


def test_only_an_emergency_ends_what_runs() -> None:
    assert [level for level in Level if RULES[level].evict] == [Level.EMERGENCY]


def test_each_level_allows_no_more_than_the_one_below() -> None:
    for lower, higher in pairwise(Level):
        for severity in (0.0, 0.5, 1.0):
            assert refused(lower, severity, 0.4) <= refused(higher, severity, 0.4)
        assert started(lower) >= started(higher)


def test_control_is_never_refused() -> None:
    assert not any(refuses(one, CONTROL, 1.0, 0.0) for one in RULES.values())


def test_watching_allows_everything() -> None:
    assert set(only_watching(RULES).values()) == {Allowed()}
