"""A server and the clients before its gate, simulated: no clock, and chance from a seed."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tidegate.core.criticality import Criticality
from tidegate.core.gate import Gate, LetIn, Waits


@dataclass(eq=False)
class Client:
    """A client at its n-th try, and how it is for it."""

    work: Criticality
    tries: int = 1
    ticket: str | None = None
    began_s: float = 0.0


@dataclass
class Crowd:
    """`servers` that each take `takes_s` for a request, in order of arrival; clients of one class that come by chance,
    `per_second` of them, and of those refused the share `obeying` comes back when it was told, by whole seconds.
    """

    servers: int
    takes_s: float
    per_second: float
    work: Criticality = Criticality.CRITICAL
    obeying: float = 1.0
    seed: int = 1
    gate: Gate = field(default_factory=lambda: Gate(0.0))
    answered: list[Client] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    next_try: list[bool] = field(default_factory=list)
    """Of those who came back for the first time: whether they were let in."""
    told_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []
        self._waiting: dict[int, Client] = {}
        self._inside: deque[Client] = deque()
        self._busy = 0
        self.now_s = 0.0

    def run(self, for_s: float) -> None:
        """New clients come for so long; those who were refused no longer after it."""
        at_s = 0.0
        while (at_s := at_s + self._chance.expovariate(self.per_second)) < for_s:
            self.at(at_s, self.come, Client(self.work))
        while self._events and self._events[0][0] < for_s:
            self.now_s, _, do, with_what = heapq.heappop(self._events)
            do(with_what)

    def at(self, at_s: float, do: Callable[..., None], with_what: Any) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), do, with_what))

    def slow_down(self, times: float) -> None:
        """From now on each request takes so much longer."""
        self.takes_s *= times

    def come(self, client: Client) -> None:
        client.began_s = self.now_s
        answer = self.gate.enter(client.work, self.now_s, client.ticket)
        if isinstance(answer, LetIn):
            self._let_in(client)
        elif isinstance(answer, Waits):
            self._waiting[answer.number] = client
            self.at(self.now_s + answer.for_s, self._out_of_patience, answer.number)
        else:
            self._refuse(client, answer.ahead)

    def _out_of_patience(self, number: int) -> None:
        if self.gate.give_up(number):
            self._refuse(self._waiting.pop(number), self.gate.waiting)

    def _refuse(self, client: Client, ahead: int) -> None:
        offer = f"ticket {next(self._order)}"
        refused = self.gate.refuse(self.now_s, ahead=ahead, offer=offer, chance=self._chance.random())
        self.told_s.append(refused.retry_after_s)
        if client.tries == 2:
            self.next_try.append(False)
        if self._chance.random() < self.obeying:
            again = Client(client.work, client.tries + 1, offer if refused.has_ticket else None)
            self.at(self.now_s + math.ceil(refused.retry_after_s), self.come, again)

    def _let_in(self, client: Client) -> None:
        if client.tries == 2:
            self.next_try.append(True)
        self._inside.append(client)
        self._work()

    def _work(self) -> None:
        while self._inside and self._busy < self.servers:
            self._busy += 1
            self.at(self.now_s + self.takes_s, self._end, self._inside.popleft())

    def _end(self, client: Client) -> None:
        self._busy -= 1
        self.answered.append(client)
        self.took_s.append(self.now_s - client.began_s)
        for number in self.gate.leave(self.now_s - client.began_s, self.now_s):
            self._let_in(self._waiting.pop(number))
        self._work()
