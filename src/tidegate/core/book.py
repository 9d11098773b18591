"""When those who are refused shall come back, so that there is room for them then.

A virtual line, as restaurants keep one: each gets the place behind the last that was given, one share of the drain rate
further on, and a ticket for it. Of those who are told to come back some never do; how many do is learned from the tickets,
and the places lie that much closer together.
"""

from __future__ import annotations

from collections import OrderedDict

LEAST_S = 1.0
"""Retry-After counts in whole seconds."""
LONGEST_S = 600.0
UNKNOWN_S = 2.0
"""What is told while no rate is known."""
JITTER = 0.2
"""Times that are told differ by this share to both sides: those who were refused together shall not come back together."""
TICKETS = 10_000
"""Places that are noted at once. Whoever comes after them is told a time, but gets no ticket."""
LIFE_S = 30.0
"""How long after its time a ticket is good."""
EARLY_S = 0.25
"""So much before its time it is good already, for clocks that differ."""
PROMISED = 0.8
"""Share of the rate that is given away. The rest lets in others, and is what the rate may fall by before a time that was told
comes too early. Of a simulated crowd before a machine that became slower by a third, 93 of 100 were let in when they had been
told, with 0.9 it were 88."""
_SMOOTHING = 0.05
_FIRST_GUESS = 1.0
"""Nothing is promised twice before it is seen that some do not come back, which takes half a minute. Where nobody does, the
first are told to wait for longer than they had to."""
_LEAST_RETURNING = 0.05


class Book:
    """The places that were given, by ticket. Instants are monotonic seconds."""

    def __init__(self) -> None:
        self.returning = _FIRST_GUESS
        """Share of the tickets that come back in their time, lately."""
        self._given_until_s = float("-inf")
        self._tickets: OrderedDict[str, float] = OrderedDict()

    @property
    def due(self) -> int:
        """Tickets that have not come back."""
        return len(self._tickets)

    def place(
        self, now_s: float, *, ahead: int, per_second: float, offer: str, chance: float
    ) -> tuple[float, bool]:
        """Seconds until the next place, and whether it was noted under the ticket `offer`.

        `ahead` are those who wait inside; `per_second` is the rate at which requests are answered, 0 when it is not known.
        `chance` is uniform in [0, 1).
        """
        self._forget(now_s)
        wait_s = self._wait_s(now_s, ahead, per_second)
        told_s = min(max(wait_s * (1 - JITTER + 2 * JITTER * chance), LEAST_S), LONGEST_S)
        noted = len(self._tickets) < TICKETS and wait_s < LONGEST_S
        if noted:
            gap_s = self.returning / (per_second * PROMISED) if per_second else 0.0
            self._given_until_s = now_s + wait_s + gap_s
            self._tickets[offer] = now_s + told_s
        return told_s, noted

    def redeem(self, ticket: str, now_s: float) -> bool:
        """Take a ticket back: whether its time has come, and has not long passed. Good for once."""
        at_s = self._tickets.get(ticket)
        if at_s is None or now_s < at_s - EARLY_S:
            return False
        del self._tickets[ticket]
        self._learn(returned=now_s <= at_s + LIFE_S)
        return now_s <= at_s + LIFE_S

    def _wait_s(self, now_s: float, ahead: int, per_second: float) -> float:
        inside_s = ahead / per_second if per_second else UNKNOWN_S
        return min(max(LEAST_S, inside_s, self._given_until_s - now_s), LONGEST_S)

    def _forget(self, now_s: float) -> None:
        """Tickets whose time is long over. The oldest stand first, more or less: times were told with jitter."""
        while self._tickets and next(iter(self._tickets.values())) < now_s - LIFE_S:
            self._tickets.popitem(last=False)
            self._learn(returned=False)

    def _learn(self, *, returned: bool) -> None:
        self.returning += _SMOOTHING * (returned - self.returning)
        self.returning = max(self.returning, _LEAST_RETURNING)
