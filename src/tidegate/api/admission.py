"""The gates that requests pass: one for each kind of work, in one event loop.

A request enters when all of it is there, so that a slow client holds no slot; the time from there to its answer is what the
gate learns from. Requests of control pass no gate at all.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from time import monotonic

from tidegate.api.lanes import Way, Work
from tidegate.api.problems import Refusal
from tidegate.core.criticality import Criticality
from tidegate.core.gate import Full, Gate, LetIn, Refused, Waits
from tidegate.core.identity import Caller
from tidegate.ports import OverRate, RateLimiter
from tidegate.server.sojourn import Sojourn, Sojourns
from tidegate.server.threads import Run
from tidegate.settings import Settings

log = logging.getLogger("tidegate.admission")

TICKET = b"tidegate-ticket"
"""The header by which a client shows that it was told to come now."""
_TELL_EVERY_S = 10.0
_NAMES: Mapping[Work, str] = {
    Work.SUBMIT: "submissions",
    Work.READ: "requests that read",
    Work.RUN: "queries and previews",
    Work.STREAM: "streams and long waits",
}


class Why(StrEnum):
    """Why a request was refused at a gate."""

    NO_ROOM = "no_room"
    """So many were before it that no slot could be free in time."""
    WAITED = "waited"
    """It has waited in vain."""


class Turnstile:
    """A gate whose waiting requests are tasks of an event loop. `sojourn` hears how long they wait."""

    def __init__(
        self,
        name: str,
        gate: Gate,
        clock: Callable[[], float] = monotonic,
        sojourn: Sojourn | None = None,
    ) -> None:
        self.gate = gate
        self.clock = clock
        self.refused: Counter[tuple[Criticality, Why]] = Counter()
        """Since the start."""
        self._name = name
        self._sojourn = sojourn or Sojourn()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._told_s = float("-inf")

    async def enter(self, work: Criticality, ticket: str | None) -> None:
        """Return with a slot. Raises `overloaded`, at once or after a wait in vain."""
        answer = self.gate.enter(work, self.clock(), ticket)
        if isinstance(answer, Full):
            raise self._refusal(answer.ahead, work, Why.NO_ROOM)
        if isinstance(answer, LetIn):
            self._sojourn.found_free()
        elif not await self._wait(answer):
            raise self._refusal(self.gate.waiting, work, Why.WAITED)

    def refuse_hopeless(self, work: Criticality) -> None:
        """Raise what `enter` would, as far as it is plain already."""
        if self.gate.would_refuse(work, self.clock()):
            raise self._refusal(self.gate.waiting, work, Why.NO_ROOM)

    def leave(self, began_s: float | None) -> None:
        """Give a slot back that was taken at this instant of the clock; None: the request was not worked at."""
        now_s = self.clock()
        for number in self.gate.leave(None if began_s is None else now_s - began_s, now_s):
            let_in = self._waiting.pop(number)
            if let_in.done():  # its client's task was ended a moment ago
                self.leave(None)
            else:
                let_in.set_result(True)

    async def _wait(self, place: Waits) -> bool:
        since_s, over = self._sojourn.joined(), self._sojourn.given_up
        try:
            let_in = await self._let_in(place)
            over = self._sojourn.ended
        finally:
            over(since_s)
        return let_in

    async def _let_in(self, place: Waits) -> bool:
        """Whether one who waits is let in before his time is over."""
        loop, number = asyncio.get_running_loop(), place.number
        let_in: asyncio.Future[bool] = loop.create_future()
        self._waiting[number] = let_in
        timer = loop.call_later(place.for_s, self._give_up, number)
        try:
            return await let_in
        except asyncio.CancelledError:
            if not let_in.cancelled() and let_in.result():
                self.leave(None)
            elif self.gate.give_up(number):
                del self._waiting[number]
            raise
        finally:
            timer.cancel()

    def _give_up(self, number: int) -> None:
        if self.gate.give_up(number):
            self._waiting.pop(number).set_result(False)

    def _refusal(self, ahead: int, work: Criticality, why: Why) -> Refusal:
        self.refused[work, why] += 1
        ticket = secrets.token_hex(8)
        refused = self.gate.refuse(self.clock(), ahead=ahead, offer=ticket, chance=random.random())
        self._tell(refused)
        rate = f"{refused.per_second:.3g} are answered in a second" if refused.per_second else "none ends"
        asked = self.gate.in_flight + refused.ahead + 1
        return Refusal(
            "overloaded",
            f"{asked} {self._name} would be under way or wait, {self.gate.limit} are worked at, and {rate}. Come again in "
            f"{refused.retry_after_s:.1f} s" + (" and show the ticket." if refused.has_ticket else "."),
            numbers={
                "asked": asked,
                "limit": self.gate.limit,
                "per_second": round(refused.per_second, 2),
                "retry_after_s": round(refused.retry_after_s, 2),
            },
            headers={TICKET.decode().title(): ticket} if refused.has_ticket else None,
            more={"ticket": ticket} if refused.has_ticket else None,
        )

    def _tell(self, refused: Refused) -> None:
        now_s = self.clock()
        if now_s - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = now_s
        log.warning(
            "Too many %s: %d under way of %d, %d wait, %.3g a second are answered; %d were refused so far.",
            self._name,
            self.gate.in_flight,
            self.gate.limit,
            self.gate.waiting,
            refused.per_second,
            self.gate.refused,
        )


class Passage:
    """The way of one request through its gate."""

    __slots__ = ("_began_s", "_criticality", "_ticket", "_turnstile")

    def __init__(self, turnstile: Turnstile, criticality: Criticality, ticket: str | None) -> None:
        self._turnstile = turnstile
        self._criticality = criticality
        self._ticket = ticket
        self._began_s: float | None = None

    async def enter(self) -> None:
        """Go in, once; a second time does nothing. Raises `overloaded`."""
        if self._began_s is None:
            await self._turnstile.enter(self._criticality, self._ticket)
            self._began_s = self._turnstile.clock()

    def look_ahead(self) -> None:
        """Raise `overloaded` if `enter` would, before a long body is read."""
        if self._began_s is None:
            self._turnstile.refuse_hopeless(self._criticality)

    def leave(self) -> None:
        """The request is answered."""
        if self._began_s is not None:
            self._turnstile.leave(self._began_s)


class Admission:
    """All gates of a server."""

    def __init__(
        self,
        settings: Settings,
        rates: RateLimiter | None = None,
        run: Run | None = None,
        sojourns: Sojourns | None = None,
    ) -> None:
        self._rates = rates
        self._run = run
        self.rate_limited = 0
        """Requests of owners who asked too often, since the start."""
        fixed = dict.fromkeys(Work, settings.max_requests) | {Work.STREAM: settings.max_streams}
        felt = {} if sojourns is None else {work: sojourns.gate() for work in (Work.SUBMIT, Work.READ)}
        self.turnstiles = {
            work: Turnstile(name, Gate(monotonic(), fixed=fixed[work]), sojourn=felt.get(work))
            for work, name in _NAMES.items()
        }

    async def count(self, caller: Caller | None) -> None:
        """Count a request of an owner. Raises `rate_limited`."""
        if self._rates is None or caller is None:
            return
        if self._rates.blocks and self._run is not None:
            over = await self._run(self._rates.take, caller.owner)
        else:
            over = self._rates.take(caller.owner)
        if over is not None:
            self.rate_limited += 1
            raise _too_often(caller.owner, over)

    def passage(self, way: Way, criticality: Criticality, ticket: bytes | None) -> Passage:
        """The way of a request, which is no request of control, through its gate."""
        shown = None if ticket is None else ticket.decode("latin-1")
        return Passage(self.turnstiles[way.work], criticality, shown)


def _too_often(owner: str, over: OverRate) -> Refusal:
    return Refusal(
        "rate_limited",
        f"{owner!r} may send {over.limit} requests in {over.window_s} s. Come again in {over.retry_after_s:.1f} s, or ask for "
        "many jobs in one request.",
        numbers={
            "asked": over.asked,
            "limit": over.limit,
            "window_s": over.window_s,
            "retry_after_s": over.retry_after_s,
        },
    )
