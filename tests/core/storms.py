"""Series of readings, made up or recorded, played to a gauge by a clock that only counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tidegate.core.pressure import ROWS, Change, Gauge, Row, observe, sample_every_s
from tidegate.core.readings import Readings, readings_from

RECORDED = Path(__file__).parent / "recorded"

Series = Callable[[float], Readings]
"""The readings at a time in seconds."""


def play(series: Series, seconds: float, rows: Sequence[Row] = ROWS) -> list[Change]:
    """The changes of level of a storm, looked at as often as the level asks for."""
    return [change for _, change in steps(series, seconds, rows) if change is not None]


def steps(
    series: Series, seconds: float, rows: Sequence[Row] = ROWS
) -> Iterator[tuple[Gauge, Change | None]]:
    gauge, now_s = Gauge(), 0.0
    while now_s <= seconds:
        gauge, change = observe(gauge, series(now_s), now_s, rows)
        yield gauge, change
        now_s += sample_every_s(gauge.level)


def recorded(name: str) -> tuple[Series, float]:
    """What a machine once felt, and for how many seconds: a line of JSON for each look, with `at_s`."""
    lines = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]

    def series(now_s: float) -> Readings:
        return readings_from([line for line in lines if line["at_s"] <= now_s][-1])

    return series, float(lines[-1]["at_s"])
