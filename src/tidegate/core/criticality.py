"""How much it matters that work is taken and started while the machine is short of something."""

from __future__ import annotations

from enum import IntEnum

from tidegate.core.job import Priority


class Criticality(IntEnum):
    """Classes of work, those given up first come first. The names are those of Google's services.

    Where a limit names a class, all classes below it are meant as well.
    """

    SHEDDABLE = 0
    SHEDDABLE_PLUS = 1
    CRITICAL = 2
    CRITICAL_PLUS = 3
    CONTROL = 4
    """Health, beats, ends, cancels. Never given up, at no level: to lose them turns overload into lost workers."""

    def __str__(self) -> str:
        return self.name.lower()


_OF_PRIORITY = {
    Priority.LOW: Criticality.SHEDDABLE,
    Priority.NORMAL: Criticality.CRITICAL,
    Priority.HIGH: Criticality.CRITICAL_PLUS,
}


def of_priority(priority: Priority) -> Criticality:
    """The class of a job: `low` is sheddable, `normal` critical, `high` critical plus."""
    return _OF_PRIORITY[priority]
