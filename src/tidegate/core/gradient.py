"""How many requests may be under way at once, learned from how long they take.

The algorithm and its constants are Gradient2 of Netflix's concurrency-limits (`Gradient2Limit.java`), fed as there with the
mean of a window of samples (`WindowedLimit.java`). Its authors warn against it for batch work: it is for requests that are
answered in fractions of a second, and decides nothing about jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

WARM_UP = 10
"""So many first samples make the long average by themselves."""
_STEEPEST = 0.5
"""One bad sample takes at most half of the limit, before smoothing."""
_RECOVERED = 2.0
_FORGET = 0.95
"""A long average of more than twice the sample is one of bad times, and is forgotten faster."""


@dataclass(frozen=True, slots=True)
class GradientRules:
    """The constants. Limits and `queue` count requests, `long_window` samples."""

    initial: float = 20.0
    least: float = 20.0
    most: float = 200.0
    queue: float = 4.0
    """Requests that may wait inside without a sign of trouble: by these the limit grows."""
    smoothing: float = 0.2
    long_window: int = 600
    tolerance: float = 1.5
    """How much slower than usual is still well."""


PUBLISHED = GradientRules()


@dataclass(frozen=True, slots=True)
class Gradient:
    """What was learned: the limit, and the long average of the time that a request takes, of `samples` samples."""

    limit: float
    long_s: float = 0.0
    samples: int = 0


def untaught(rules: GradientRules = PUBLISHED) -> Gradient:
    """Before the first sample."""
    return Gradient(rules.initial)


def learn(known: Gradient, short_s: float, in_flight: int, rules: GradientRules = PUBLISHED) -> Gradient:
    """Take in a sample: the time that requests took lately, in seconds above 0, and how many were under way at most.

    The limit stays within `least` and `most`. It does not move while less than half of it is used: nothing is known then
    about what more would do.
    """
    long_s = _averaged(known, short_s, rules)
    slower = long_s / short_s
    limit = known.limit
    if in_flight >= limit / 2:
        gradient = max(_STEEPEST, min(1.0, rules.tolerance * slower))
        aim = limit * gradient + rules.queue
        limit = min(max(limit * (1 - rules.smoothing) + aim * rules.smoothing, rules.least), rules.most)
    return Gradient(limit, long_s * _FORGET if slower > _RECOVERED else long_s, known.samples + 1)


def _averaged(known: Gradient, short_s: float, rules: GradientRules) -> float:
    if known.samples < WARM_UP:
        return (known.long_s * known.samples + short_s) / (known.samples + 1)
    share = 2.0 / (rules.long_window + 1)
    return known.long_s * (1 - share) + short_s * share
