"""What pressure keeps from starting on a worker, and why a task waits for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegate.core.criticality import Criticality
from tidegate.core.pressure import Level


class Hold(NamedTuple):
    """Of one worker: only work of `start` and above is begun there (None: none), and of that below critical plus so many
    more tasks now (None: as many as fit)."""

    level: Level
    start: Criticality | None
    starts_left: int | None = None
    starts_per_s: float | None = None
    because: Mapping[str, float] = {}
    """The readings that tell of the pressure, by name."""

    def admits(self, work: Criticality) -> bool:
        if self.start is None or work < self.start:
            return False
        return self.starts_left is None or self.starts_left > 0 or work >= Criticality.CRITICAL_PLUS

    def after(self, work: Criticality) -> Hold:
        """When one more of that class was begun."""
        if self.starts_left is None or work >= Criticality.CRITICAL_PLUS:
            return self
        return self._replace(starts_left=self.starts_left - 1)


def held_back(
    who: str, work: Criticality, held: Sequence[tuple[str, Hold]]
) -> tuple[str, dict[str, int | float | str]]:
    """The sentence and the numbers of why `who` (`Job 81`) waits, where only these workers have room for it."""
    worker, hold = min(held, key=lambda one: one[1].level)
    felt = ", ".join(f"{name} {value:.4g}" for name, value in sorted(hold.because.items()))
    under = f"worker '{worker}' is under pressure ({hold.level}{': ' if felt else ''}{felt})"
    numbers: dict[str, int | float | str] = {
        "worker": worker,
        "level": str(hold.level),
        "criticality": str(work),
        **hold.because,
    }
    if hold.start is None:
        return f"{who} waits because {under}: nothing is started there.", numbers
    if work < hold.start:
        numbers["starts_from"] = str(hold.start)
        return (
            f"{who} is {work} and waits because {under}: only {hold.start} jobs and above are started there.",
            numbers,
        )
    numbers["starts_per_s"] = hold.starts_per_s or 0.0
    return (
        f"{who} waits because {under}: at most {hold.starts_per_s or 0:g} jobs a second are started there.",
        numbers,
    )
