"""What each level of pressure allows: the rules, as a table that an operator can read and change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.core.criticality import Criticality
from tidegate.core.pressure import Level


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is allowed. Every field at its default: all of it. A class means itself and those below it
    (`refuse`) or itself and those above it (`start`)."""

    refuse: Criticality | None = None
    """Submissions of this class and below are refused; None: none are. Control is never refused."""
    refuse_some: Criticality | None = None
    """Likewise with the probability that `severity` gives."""
    start: Criticality | None = Criticality.SHEDDABLE
    """Jobs of this class and above are started; None: none are."""
    starts_per_s: float | None = None
    """Starts a second on a worker, of classes below critical plus; None: as many as there is room for."""
    concurrency_share: float = 1.0
    """Of the cap of each queue; at least one task, and what runs goes on."""
    free_caches: bool = False
    """On entering the level: caches are dropped, garbage is collected, memory is given back."""
    most_page: int | None = None
    """Most items of a page of a list; None: as the API has it."""
    exports: bool = True
    """Whether whole sources may be downloaded in another format, which is work. Results of jobs always may."""
    evict: bool = False
    """End one attempt, wait until that shows, and look again."""


RULES: Mapping[Level, Allowed] = {
    Level.NORMAL: Allowed(),
    Level.WARN: Allowed(
        refuse_some=Criticality.SHEDDABLE,
        start=Criticality.SHEDDABLE_PLUS,
        starts_per_s=1.0,
        concurrency_share=0.5,
        free_caches=True,
        most_page=50,
    ),
    Level.CRITICAL: Allowed(
        refuse=Criticality.SHEDDABLE_PLUS,
        start=Criticality.CRITICAL_PLUS,
        starts_per_s=1.0,
        concurrency_share=0.5,
        free_caches=True,
        most_page=50,
        exports=False,
    ),
    Level.EMERGENCY: Allowed(
        refuse=Criticality.CRITICAL,
        start=None,
        starts_per_s=0.0,
        concurrency_share=0.5,
        free_caches=True,
        most_page=50,
        exports=False,
        evict=True,
    ),
}
"""Stop starting before ending what runs; end the young before the old and over-users before the honest."""


def refuses(allowed: Allowed, work: Criticality, severity: float, chance: float) -> bool:
    """Whether to refuse new work of this class. `chance` is even from 0 up to 1; of `refuse_some`, the share `severity`."""
    if work is Criticality.CONTROL:
        return False
    if allowed.refuse is not None and work <= allowed.refuse:
        return True
    return allowed.refuse_some is not None and work <= allowed.refuse_some and chance < severity


def starts(allowed: Allowed, work: Criticality) -> bool:
    """Whether a waiting job of this class may start at all."""
    return allowed.start is not None and work >= allowed.start


def only_watching(rules: Mapping[Level, Allowed]) -> Mapping[Level, Allowed]:
    """The same levels with everything allowed: for who wants to see the levels before they act."""
    return {level: Allowed() for level in rules}
