"""Whom to end when the machine cannot be saved otherwise: one attempt, the one that is given up with the least harm."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from tidegate.core.criticality import Criticality
from tidegate.core.job import AttemptKey

SETTLE_S = 15.0
"""How long to wait after an end for it to show, unless the pressure falls before: oomd's `post_action_delay`."""


class Candidate(NamedTuple):
    """A running attempt. `retriable`: it will be tried again, at no cost but its time. Memory in bytes."""

    key: AttemptKey
    work: Criticality
    retriable: bool
    used_bytes: int
    reserved_bytes: int
    started_at: datetime

    @property
    def over(self) -> bool:
        """Whether it uses more than was reserved for it."""
        return self.used_bytes > self.reserved_bytes

    @property
    def ratio(self) -> float:
        """What it uses, of what was reserved for it."""
        return self.used_bytes / max(self.reserved_bytes, 1)


def choose(running: Iterable[Candidate]) -> Candidate | None:
    """The one to end; None when nothing runs.

    In this order: the least critical, who is over his request, who will be tried again, who uses most of what was
    reserved for him, the youngest. So nobody inside his request is ended while anybody of his class or a lower one is
    over it: the honest pay last (ClickHouse weighs used against guaranteed; Ray ends the youngest that can be tried again).
    """
    return min(running, key=_order, default=None)


def _order(one: Candidate) -> tuple[int, bool, bool, float, float, AttemptKey]:
    return (one.work, not one.over, not one.retriable, -one.ratio, -one.started_at.timestamp(), one.key)
