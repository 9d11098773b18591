"""Figures: what was asked beside what was measured, and the statistics they are made of."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A bound: `most` says whether the value is the most or the least that is wanted."""

    value: float
    most: bool

    def met_by(self, measured: float) -> bool:
        return measured <= self.value if self.most else measured >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {number(self.value)}"


def at_most(value: float) -> Asked:
    return Asked(value, most=True)


def at_least(value: float) -> Asked:
    return Asked(value, most=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. A `claim` is about correctness: when it is not met the whole run fails.

    Without `asked` the figure is there for the reader to compare with.
    """

    name: str
    measured: float
    unit: str = ""
    asked: Asked | None = None
    note: str = ""
    claim: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `short` of a figure, `broken` for a claim; empty where nothing was asked."""
        if self.asked is None:
            return ""
        if math.isfinite(self.measured) and self.asked.met_by(self.measured):
            return "met"
        return "broken" if self.claim else "short"

    def as_json(self) -> dict[str, Any]:
        asked = None if self.asked is None else {"value": self.asked.value, "most": self.asked.most}
        return {
            "name": self.name,
            "asked": asked,
            "measured": self.measured if math.isfinite(self.measured) else None,
            "unit": self.unit,
            "verdict": self.verdict,
            "note": self.note,
            "claim": self.claim,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Figure:
        asked = values["asked"]
        measured = math.nan if values["measured"] is None else values["measured"]
        return cls(
            values["name"],
            measured,
            values["unit"],
            Asked(asked["value"], asked["most"]) if asked else None,
            values["note"],
            values["claim"],
        )


def claim(name: str, wrong: Sequence[object], note: str = "") -> Figure:
    """A claim that nothing is wrong; what is wrong is named, at most five of them."""
    found = "; ".join(str(one) for one in list(wrong)[:5])
    return Figure(name, float(len(wrong)), "violations", at_most(0), found or note, claim=True)


def number(value: float) -> str:
    """A value as a reader wants it: three significant digits, thousands separated, whole numbers whole."""
    if not math.isfinite(value):
        return "none"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which this share of the values lies (nearest rank). Raises ValueError when empty."""
    if not values:
        raise ValueError("A percentile of nothing.")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"A share lies between 0 and 1, not at {share}.")
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones. Raises ValueError when empty."""
    if not values:
        raise ValueError("A median of nothing.")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Compared(NamedTuple):
    """Two things measured in turn, A B A B: their values in the order taken, and the ratio of the medians, B to A."""

    a: list[float]
    b: list[float]

    @property
    def ratio(self) -> float:
        return median(self.b) / median(self.a)

    @property
    def spread(self) -> str:
        """Lowest and highest ratio of neighbours: how far to trust the ratio."""
        ratios = [b / a for a, b in zip(self.a, self.b, strict=True)]
        return f"{number(min(ratios))} to {number(max(ratios))}"


def in_turn(a: Callable[[], float], b: Callable[[], float], rounds: int) -> Compared:
    """Measure A B, then B A, then A B ...: a drift of the machine, and the order within a pair, fall on both alike."""
    compared = Compared([], [])
    pair = [(a, compared.a), (b, compared.b)]
    for _ in range(rounds):
        for measure, values in pair:
            values.append(measure())
        pair.reverse()
    return compared


class Blocks(NamedTuple):
    """What was measured in turns, each time many values. All of one side together make its percentile, since that of a few
    values is mostly chance; how sure the ratio is, is told by drawing pairs of neighbours again and again (bootstrap)."""

    a: list[Sequence[float]]
    b: list[Sequence[float]]

    def ratio(self, share: float) -> float:
        """The percentile of b, times that of a."""
        return _pooled_ratio(self.a, self.b, share)

    def interval(self, share: float, draws: int = 1000) -> tuple[float, float]:
        """Between what the ratio lies in nine of ten draws."""
        chance, places = random.Random(7), range(len(self.a))
        ratios = []
        for _ in range(draws):
            drawn = [chance.choice(places) for _ in places]
            ratios.append(
                _pooled_ratio([self.a[place] for place in drawn], [self.b[place] for place in drawn], share)
            )
        return percentile(ratios, 0.05), percentile(ratios, 0.95)


def _pooled_ratio(a: Iterable[Sequence[float]], b: Iterable[Sequence[float]], share: float) -> float:
    over, under = (percentile([value for block in side for value in block], share) for side in (b, a))
    return over / under


def blocks_in_turn(a: Callable[[], Sequence[float]], b: Callable[[], Sequence[float]], rounds: int) -> Blocks:
    """As `in_turn`, of measures that each give many values."""
    blocks = Blocks([], [])
    pair = [(a, blocks.a), (b, blocks.b)]
    for _ in range(rounds):
        for measure, values in pair:
            values.append(measure())
        pair.reverse()
    return blocks


def seconds(what: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


class Latencies(NamedTuple):
    """Answer times in seconds, and the requests that failed."""

    values: list[float]
    failures: list[str]

    def add(self, others: Latencies) -> None:
        """Take these in, too."""
        self.values.extend(others.values)
        self.failures.extend(others.failures)

    def ms(self, share: float) -> float:
        return percentile(self.values, share) * 1000

    @property
    def summary(self) -> str:
        """p50 / p99 / max in milliseconds."""
        return f"{self.ms(0.5):.1f} / {self.ms(0.99):.1f} / {self.ms(1.0):.1f}"
