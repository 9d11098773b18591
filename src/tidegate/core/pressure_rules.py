"""The rules on pressure as one table: what is felt as which level, and what each level allows. Read and written as JSON.

Only what differs from the defaults needs to be written. An operator changes bounds, hold times and what a level allows;
which readings a signal is made of stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from tidegate.core.criticality import Criticality
from tidegate.core.overload import RULES, Allowed
from tidegate.core.pressure import ROWS, Level, Row, Trigger, machine_rows
from tidegate.errors import InvalidInput


@dataclass(frozen=True)
class PressureRules:
    """`rows` say when a level is entered, `levels` what it allows."""

    rows: tuple[Row, ...] = ROWS
    levels: Mapping[Level, Allowed] = field(default_factory=lambda: RULES)

    @cached_property
    def machine_rows(self) -> tuple[Row, ...]:
        return machine_rows(self.rows)


def rules_to_json(rules: PressureRules) -> dict[str, Any]:
    """`signals` by name, then by level a list of triggers; `levels` by name."""
    return {
        "signals": {row.signal: row_to_json(row) for row in rules.rows},
        "levels": {str(level): allowed_to_json(rules.levels[level]) for level in Level},
    }


def row_to_json(row: Row) -> dict[str, Any]:
    """By level, its triggers."""
    return {
        str(level): [_trigger_to_json(trigger) for trigger in triggers]
        for level, triggers in sorted(row.triggers.items())
    }


def allowed_to_json(allowed: Allowed) -> dict[str, Any]:
    """Each field; classes by their names."""
    values = {each.name: getattr(allowed, each.name) for each in fields(Allowed)}
    return {name: str(value) if isinstance(value, Criticality) else value for name, value in values.items()}


def rules_from_json(written: Mapping[str, Any], base: PressureRules | None = None) -> PressureRules:
    """The base (the defaults) with what is written laid over. Raises InvalidInput that names what is wrong and what may be."""
    base = base or PressureRules()
    _known("rules", written, ("signals", "levels"))
    signals = _mapping("signals", written.get("signals", {}))
    levels = _mapping("levels", written.get("levels", {}))
    _known("signals", signals, [row.signal for row in base.rows])
    _known("levels", levels, [str(level) for level in Level])
    return PressureRules(
        tuple(_row(row, _mapping(row.signal, signals.get(row.signal, {}))) for row in base.rows),
        {level: _allowed(level, base.levels[level], levels.get(str(level), {})) for level in Level},
    )


def _trigger_to_json(trigger: Trigger) -> dict[str, Any]:
    return {
        "hold_s": trigger.hold_s,
        "thresholds": {
            one.reading: {
                "bound": one.bound,
                "leave": one.leave_bound,
                "below": one.below,
                **({"rising_above": one.rising_above} if one.rising_above else {}),
            }
            for one in trigger.thresholds
        },
    }


def _row(row: Row, written: Mapping[str, Any]) -> Row:
    _known(f"signals.{row.signal}", written, [str(level) for level in sorted(row.triggers)])
    triggers = {
        level: _triggers(f"signals.{row.signal}.{level}", known, written[str(level)])
        if str(level) in written
        else known
        for level, known in row.triggers.items()
    }
    return replace(row, triggers=triggers)


def _triggers(where: str, known: tuple[Trigger, ...], written: object) -> tuple[Trigger, ...]:
    """As many triggers as there are; an empty list turns the level off for this signal."""
    if written == []:
        return ()
    if not isinstance(written, list) or len(written) != len(known):
        raise InvalidInput(
            f"{where} must be a list of {len(known)} triggers, or an empty one to turn it off."
        )
    return tuple(
        _trigger(f"{where}[{index}]", trigger, _mapping(f"{where}[{index}]", each))
        for index, (trigger, each) in enumerate(zip(known, written, strict=True))
    )


def _trigger(where: str, trigger: Trigger, written: Mapping[str, Any]) -> Trigger:
    _known(where, written, ("hold_s", "thresholds"))
    thresholds = _mapping(f"{where}.thresholds", written.get("thresholds", {}))
    _known(f"{where}.thresholds", thresholds, [one.reading for one in trigger.thresholds])
    hold_s = _number(f"{where}.hold_s", written.get("hold_s", trigger.hold_s))
    changed = []
    for one in trigger.thresholds:
        inside = _mapping(f"{where}.thresholds.{one.reading}", thresholds.get(one.reading, {}))
        _known(f"{where}.thresholds.{one.reading}", inside, ("bound", "leave", "below", "rising_above"))
        bound = _number(f"{where}.thresholds.{one.reading}.bound", inside.get("bound", one.bound))
        changed.append(one._replace(bound=bound))
    return Trigger(tuple(changed), hold_s)


def _allowed(level: Level, base: Allowed, written: object) -> Allowed:
    where = f"levels.{level}"
    given = _mapping(where, written)
    _known(where, given, [each.name for each in fields(Allowed)])
    checked: dict[str, Any] = {name: _CHECKS[name](f"{where}.{name}", value) for name, value in given.items()}
    return replace(base, **checked)


def _class(where: str, value: object) -> Criticality | None:
    names = [str(each) for each in Criticality if each is not Criticality.CONTROL]
    if value is None:
        return None
    if value not in names:
        raise InvalidInput(f"{where} must be null or one of {', '.join(names)}, not {value!r:.80}.")
    return Criticality[str(value).upper()]


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{where} must be true or false, not {value!r:.80}.")
    return value


def _number(where: str, value: object, most: float = 1e15) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidInput(f"{where} must be a number from 0 to {most:g}, not {value!r:.80}.")
    return float(value)


def _share(where: str, value: object) -> float:
    return _number(where, value, 1.0)


def _rate(where: str, value: object) -> float | None:
    return None if value is None else _number(where, value)


def _page(where: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{where} must be null or a whole number from 1, not {value!r:.80}.")
    return value


_CHECKS = {
    "refuse": _class,
    "refuse_some": _class,
    "start": _class,
    "starts_per_s": _rate,
    "concurrency_share": _share,
    "free_caches": _flag,
    "most_page": _page,
    "exports": _flag,
    "evict": _flag,
}


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where} must be an object, not {value!r:.80}.")
    return value


def _known(where: str, written: Mapping[str, Any], names: Sequence[str]) -> None:
    unknown = sorted(set(written) - set(names))
    if unknown:
        raise InvalidInput(f"{where} has no {unknown[0]!r:.80}; it has {', '.join(names)}.")
