"""Who of the requests for one kind of work is let in, who waits a moment, and who is told to come back when.

A gate has as many slots as `core/gradient.py` finds good. A request that finds none free waits in the line, the more critical
first, if it would be let in within `PATIENCE_S`: the shortest time that an answer can tell a client to wait is a second, so
who waits less is better kept. All others are refused, each with a place of its own in the time to come and a ticket for it
(`core/book.py`). Whoever comes back with his ticket goes before those of his class who come for the first time, so that the
time he was told is true however many others come meanwhile.

Nothing here knows a clock or chance: instants are monotonic seconds that never go back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tidegate.core.book import Book
from tidegate.core.criticality import Criticality
from tidegate.core.gradient import PUBLISHED, GradientRules, learn, untaught

PATIENCE_S = 1.0
"""Longest time that a request waits for a slot; also the shortest Retry-After."""
KEPT_LONGER = 2.0
"""So many times as long one is kept who has come when he was told: the rate may have fallen since."""
INSIDE_S = 1.0
"""The limit grows beyond the least one only as far as those inside are answered in this time. The long average is learned
from the load itself, so in a flood that lasts the limit by the gradient alone creeps up until answers come too late."""
WINDOW_S = 0.1
WINDOW_SAMPLES = 10
"""A sample is taken of what ended in at least this time, and of at least so many requests."""
RESERVED_FOR_CONTROL = 0.1
"""Share of the slots that only requests of control take."""
UNKNOWN_LINE = 1000
"""So many may wait before anything has been answered."""
_RATE_SMOOTHING = 0.2


class LetIn(NamedTuple):
    """The request has a slot; `leave` gives it back."""


class Waits(NamedTuple):
    """The request stands in the line under this number until `leave` names it, or, after `for_s`, `give_up` is called."""

    number: int
    for_s: float


class Full(NamedTuple):
    """The request cannot be let in soon: `ahead` of it wait. `refuse` tells when it shall come again."""

    ahead: int


class Refused(NamedTuple):
    """The request shall come again after this time. `ahead` requests are before it, and `per_second` are answered."""

    retry_after_s: float
    ahead: int
    per_second: float
    has_ticket: bool
    """Whether the time was noted, under the ticket that was offered."""


Answer = LetIn | Waits | Full
_LET_IN = LetIn()


@dataclass(slots=True)
class _Window:
    """What ended since `began_s`."""

    began_s: float
    count: int = 0
    total_s: float = 0.0
    most_in_flight: int = 0

    @property
    def mean_s(self) -> float:
        return self.total_s / self.count if self.count else 0.0


@dataclass(slots=True)
class _Drain:
    """How many requests are answered in a second while all slots are taken: what more would come to has not been seen."""

    per_second: float = 0.0
    count: int = 0
    busy_s: float = 0.0
    since_s: float | None = None
    """Since when all slots are taken, or since the last request ended; None when some are free."""

    def full(self, now_s: float) -> None:
        if self.since_s is None:
            self.since_s = now_s

    def ended(self, now_s: float) -> None:
        """A request has ended. Call `full` after it if all slots are taken again."""
        if self.since_s is None:
            return
        self.count += 1
        self.busy_s += now_s - self.since_s
        self.since_s = None
        if self.count >= WINDOW_SAMPLES and self.busy_s >= WINDOW_S:
            rate = self.count / self.busy_s
            self.per_second += _RATE_SMOOTHING * (rate - self.per_second) if self.per_second else rate
            self.count, self.busy_s = 0, 0.0

    def at_most(self, now_s: float) -> float | None:
        """What the rate has fallen to when little ends; None when nothing speaks against the rate."""
        if self.since_s is None:
            return None
        busy_s = self.busy_s + now_s - self.since_s
        return (self.count + 1) / busy_s if busy_s > PATIENCE_S else None


@dataclass(slots=True)
class _Line:
    """Those who wait, by rank, each with a number."""

    by_rank: dict[int, deque[int]] = field(default_factory=dict)
    length: int = 0

    def ahead_of(self, rank: int) -> int:
        """How many would go before one who joins now."""
        return sum(len(waiting) for other, waiting in self.by_rank.items() if other <= rank)

    def join(self, rank: int, number: int) -> None:
        self.by_rank.setdefault(rank, deque()).append(number)
        self.length += 1

    def first(self) -> int:
        """Take out who is next. There must be one."""
        self.length -= 1
        rank = min(rank for rank, waiting in self.by_rank.items() if waiting)
        return self.by_rank[rank].popleft()

    def leave(self, number: int) -> bool:
        """Take out one who goes away by himself; False when he is not there."""
        for waiting in self.by_rank.values():
            if number in waiting:
                waiting.remove(number)
                self.length -= 1
                return True
        return False


class Gate:
    """The gate of one kind of requests. `fixed` slots do not change; without it they are learned by `rules`."""

    def __init__(self, now_s: float, *, rules: GradientRules = PUBLISHED, fixed: int | None = None) -> None:
        self.in_flight = 0
        self.refused = 0
        self.patience_s = PATIENCE_S
        self._rules = rules
        self._fixed = fixed
        self._learned = untaught(rules)
        self._slots = self._slots_now()
        self._line = _Line()
        self._window = _Window(now_s)
        self._drain = _Drain()
        self._seen_per_second = 0.0
        self._book = Book()
        self._numbers = 0

    @property
    def limit(self) -> int:
        """Requests that may be under way at once, those of control among them."""
        return self._fixed if self._fixed is not None else int(self._learned.limit)

    @property
    def waiting(self) -> int:
        return self._line.length

    @property
    def due(self) -> int:
        """Requests that were told when to come, and have not."""
        return self._book.due

    def enter(self, work: Criticality, now_s: float, ticket: str | None = None) -> Answer:
        """Judge a request, which may show a ticket."""
        returns = ticket is not None and self._book.redeem(ticket, now_s)
        if (self.in_flight < self._slots and not self._line.length) or work is Criticality.CONTROL:
            self._take(now_s)
            return _LET_IN
        rank = -2 * work - returns
        patience_s = self.patience_s * (KEPT_LONGER if returns else 1)
        if self._hopeless(rank, now_s, patience_s):
            return Full(self._line.ahead_of(rank))
        self._numbers += 1
        self._line.join(rank, self._numbers)
        return Waits(self._numbers, patience_s)

    def would_refuse(self, work: Criticality, now_s: float) -> bool:
        """Whether a request would be refused if it came now, for the first time."""
        has_slot = self.in_flight < self._slots and not self._line.length
        return (
            not has_slot
            and work is not Criticality.CONTROL
            and self._hopeless(-2 * work, now_s, self.patience_s)
        )

    def refuse(self, now_s: float, *, ahead: int, offer: str, chance: float) -> Refused:
        """When a request is to come again that is not let in, or has waited in vain. `offer` is a ticket to give it, `chance`
        uniform in [0, 1)."""
        self.refused += 1
        others, rate = self._book.due, self.per_second(now_s)
        told_s, noted = self._book.place(now_s, ahead=ahead, per_second=rate, offer=offer, chance=chance)
        return Refused(told_s, ahead + others, rate, noted)

    def leave(self, took_s: float | None, now_s: float) -> list[int]:
        """A request has been answered after `took_s` seconds of work (None: no sample). Who of the waiting is let in now."""
        self._drain.ended(now_s)
        self.in_flight -= 1
        if took_s is not None and self._fixed is None:
            self._sample(took_s, now_s)
        let_in: list[int] = []
        while self._line.length and self.in_flight < self._slots:
            self._take(now_s)
            let_in.append(self._line.first())
        if self.in_flight >= self._slots:
            self._drain.full(now_s)
        return let_in

    def give_up(self, number: int) -> bool:
        """One who waits goes away, or has waited for too long. False when it has been let in already."""
        return self._line.leave(number)

    def per_second(self, now_s: float) -> float:
        """Requests that are answered in a second when as many are under way as may be; 0.0 when that is not known.

        Before it was ever full this is what was seen with fewer: a promise that can be kept.
        """
        return self._fallen(self._drain.per_second or self._seen_per_second, now_s)

    def _hoped_per_second(self, now_s: float) -> float:
        """Likewise, but before it was ever full each slot will do as those did that were taken: nobody is refused for want of
        knowledge."""
        took_s = self._learned.long_s or self._window.mean_s
        hoped = self._drain.per_second or (self._slots / took_s if took_s else 0.0)
        return self._fallen(hoped, now_s)

    def _fallen(self, rate: float, now_s: float) -> float:
        fallen = self._drain.at_most(now_s)
        return rate if fallen is None else min(rate or fallen, fallen)

    def _hopeless(self, rank: int, now_s: float, patience_s: float) -> bool:
        """Whether so many would go first that a slot cannot be free in time."""
        rate = self._hoped_per_second(now_s)
        return self._line.ahead_of(rank) >= (patience_s * rate if rate else UNKNOWN_LINE)

    def _slots_now(self) -> int:
        """Slots of all that is no control."""
        return max(int(self.limit * (1 - RESERVED_FOR_CONTROL)), 1)

    def _take(self, now_s: float) -> None:
        self.in_flight += 1
        if self.in_flight > self._window.most_in_flight:
            self._window.most_in_flight = self.in_flight
        if self.in_flight >= self._slots:
            self._drain.full(now_s)

    def _most(self) -> GradientRules:
        """The rules, with the limit bounded by what is answered within `INSIDE_S`."""
        rate, rules = self._drain.per_second, self._rules
        return replace(rules, most=min(max(rate * INSIDE_S, rules.least), rules.most)) if rate else rules

    def _sample(self, took_s: float, now_s: float) -> None:
        window = self._window
        window.count += 1
        window.total_s += took_s
        if window.count < WINDOW_SAMPLES or now_s - window.began_s < WINDOW_S:
            return
        if window.total_s > 0:
            self._seen_per_second = window.most_in_flight / window.mean_s  # Little's law
            self._learned = learn(self._learned, window.mean_s, window.most_in_flight, self._most())
            self._slots = self._slots_now()
        self._window = _Window(now_s, most_in_flight=self.in_flight)
