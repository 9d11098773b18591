"""The table of rules as an operator reads and writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.core.criticality import Criticality
from tidegate.core.overload import RULES
from tidegate.core.pressure import ROWS, Level
from tidegate.core.pressure_rules import PressureRules, rules_from_json, rules_to_json
from tidegate.errors import InvalidInput


def test_nothing_written_is_the_defaults() -> None:
    assert rules_from_json({}) == PressureRules() == PressureRules(ROWS, RULES)


def test_what_is_read_can_be_written_back() -> None:
    told = json.loads(json.dumps(rules_to_json(PressureRules())))
    assert rules_from_json(told) == PressureRules()
    assert told["signals"]["memory"]["warn"] == [
        {"hold_s": 5.0, "thresholds": {"memory_used_percent": {"bound": 80.0, "leave": 75.0, "below": False}}}
    ]
    assert told["levels"]["critical"]["start"] == "critical_plus"
    assert told["levels"]["emergency"]["start"] is None


def test_only_what_differs_needs_to_be_written() -> None:
    rules = rules_from_json(
        {
            "signals": {
                "memory": {"warn": [{"hold_s": 1, "thresholds": {"memory_used_percent": {"bound": 70}}}]}
            },
            "levels": {"warn": {"starts_per_s": None, "refuse": "sheddable"}},
        }
    )
    (trigger,) = rules.rows[0].triggers[Level.WARN]
    assert (trigger.hold_s, trigger.thresholds[0].bound, trigger.thresholds[0].leave_bound) == (1, 70, 65)
    assert rules.rows[1:] == ROWS[1:]
    warn = rules.levels[Level.WARN]
    assert (warn.starts_per_s, warn.refuse, warn.most_page) == (None, Criticality.SHEDDABLE, 50)
    assert rules.levels[Level.CRITICAL] == RULES[Level.CRITICAL]


def test_an_empty_list_turns_a_level_off_for_a_signal() -> None:
    off = rules_from_json({"signals": {"disk": {"warn": []}}})
    disk = next(row for row in off.rows if row.signal == "disk")
    assert (disk.triggers[Level.WARN], len(disk.triggers[Level.CRITICAL])) == ((), 1)
    assert rules_from_json(rules_to_json(off)) == off


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"signal": {}}, "rules has no 'signal'; it has signals, levels."),
        ({"signals": {"warmth": {}}}, "signals has no 'warmth'; it has memory, memory_stall, cpu"),
        ({"signals": {"cpu": {"emergency": []}}}, "signals.cpu has no 'emergency'; it has warn, critical."),
        ({"signals": {"disk": {"warn": {}}}}, "signals.disk.warn must be a list of 1 triggers"),
        (
            {"signals": {"disk": {"warn": [{"thresholds": {"memory_used_percent": {"bound": 1}}}]}}},
            "has no 'memory_used_percent'; it has disk_free_percent",
        ),
        (
            {"signals": {"disk": {"warn": [{"thresholds": {"disk_free_percent": {"bound": -1}}}]}}},
            "bound must be a number from 0",
        ),
        ({"signals": {"disk": {"warn": [{"hold_s": "5"}]}}}, "hold_s must be a number from 0"),
        ({"levels": {"panic": {}}}, "levels has no 'panic'; it has normal, warn, critical, emergency."),
        ({"levels": {"warn": {"start": "all"}}}, "levels.warn.start must be null or one of sheddable"),
        ({"levels": {"warn": {"start": "control"}}}, "levels.warn.start must be null or one of sheddable"),
        ({"levels": {"warn": {"evict": 1}}}, "levels.warn.evict must be true or false"),
        (
            {"levels": {"warn": {"most_page": 0}}},
            "levels.warn.most_page must be null or a whole number from 1",
        ),
        ({"levels": {"warn": {"concurrency_share": 2}}}, "must be a number from 0 to 1, not 2"),
        ({"levels": []}, "levels must be an object"),
    ],
)
def test_what_is_wrong_is_named(written: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=r".") as refused:
        rules_from_json(written)
    assert told in refused.value.message
