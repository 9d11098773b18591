"""The server's side of the sandbox: hands orders to keepers, and collects what they tell. The zygote is in `zygotes.py`.

Driven by one thread, with no thread of its own; the server never forks. What a keeper or the zygote cannot report any more,
because it died, is ended and reported here.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from tidegate.core.job import AttemptKey
from tidegate.core.states import ExitReason
from tidegate.errors import BrokenInvariant, Unavailable
from tidegate.runtime.on_demand import FORGOTTEN_AFTER_S, OnDemand
from tidegate.runtime.sandbox_messages import (
    Rungs,
    SandboxEnd,
    SandboxEvent,
    SandboxGone,
    SandboxOrder,
    SandboxProgress,
    SandboxStarted,
    Turn,
    event_of,
    lost_keeper,
    order_message,
)
from tidegate.runtime.slot import IdleSlots, Slot, shape_of
from tidegate.runtime.zygotes import SWEPT_WITHIN_S, Zygotes

__all__ = [
    "Rungs",
    "SandboxEnd",
    "SandboxEvent",
    "SandboxGone",
    "SandboxOrder",
    "SandboxProgress",
    "SandboxStarted",
    "Sandboxes",
    "Turn",
]

AHEAD_S = 5.0
"""Such a process holds pages of its own, which a service at rest should not."""
_LEAVES_WITHIN_S = 8.0
_STUCK_AFTER_S = 5.0
"""A keeper that has not ended its attempt this long after it had to is killed, and its tree with it."""
ANSWERS_WITHIN_S = 30.0
"""A zygote that does not answer for so long stands still. It does one thing at a time, and clearing up may take seconds."""


class Sandboxes:
    """All attempts on this machine."""

    def __init__(
        self,
        *,
        instance: str,
        rung: str = "auto",
        yield_cpu: str = "idle",
        preload: Sequence[str] = (),
        on_demand: Sequence[str] = (),
        forgotten_after_s: float = FORGOTTEN_AFTER_S,
        python_path: Sequence[str] = (),
        modules: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        confine_files: bool = True,
        answers_within_s: float = ANSWERS_WITHIN_S,
        ahead_s: float = AHEAD_S,
    ) -> None:
        """`preload` are runners, loaded and warmed once; `on_demand` those loaded when the first attempt needs them, and
        let go of when none has for `forgotten_after_s`; `modules` are loaded like `preload`, but are code of users.
        `confine_files` false lets attempts open what this process may: for an application's own functions. A zygote that
        stands still for `answers_within_s` is killed. `ahead_s` is how long a process that was forked before there is an
        order for it waits for one; 0 for none."""
        self.selector = selectors.DefaultSelector()
        """The owner may register descriptors of its own; when `data` is callable, `poll` calls it when they are ready."""
        self._config = {
            "instance": instance,
            "rung": rung,
            "yield_cpu": yield_cpu,
            "preload": list(preload),
            "python_path": list(python_path),
            "modules": list(modules),
            "confine_files": confine_files,
            "ahead_s": ahead_s,
        }
        self._on_demand = OnDemand(on_demand, forgotten_after_s)
        self._zygotes = Zygotes(
            self._config, dict(environment or {}), self._on_demand, self.selector, answers_within_s, self
        )
        self._slots: dict[int, Slot] = {}
        self._running: dict[AttemptKey, Slot] = {}
        self._idle = IdleSlots()
        self._next_number = 1
        self._waiting_events: list[SandboxEvent] = []
        self._unproven: list[AttemptKey] = []
        self._sweep_at = 0.0
        self.when_zygote_died: Callable[[str], None] = lambda what: None
        """Called with what was seen, inside of whatever noticed it, when the zygote has ended by itself or stood still."""

    @property
    def rungs(self) -> Rungs:
        """What holds the sandboxes. Raises Unavailable before `open`."""
        if self._zygotes.rungs is None:
            raise Unavailable("The sandboxes are not open.")
        return self._zygotes.rungs

    @property
    def warnings(self) -> list[str]:
        """What the zygote could not load."""
        return self._zygotes.warnings

    @property
    def is_open(self) -> bool:
        return self._zygotes.rungs is not None

    @property
    def running(self) -> frozenset[AttemptKey]:
        """Sandboxes that were started and are not over, by their first attempts."""
        return frozenset(self._running)

    def open(self) -> None:
        """Start the zygote and wait until it is warm; nothing to do when it is. Raises SettingError when the wanted rung
        does not work here.
        """
        self._zygotes.open()

    def start(self, order: SandboxOrder) -> None:
        """Run an attempt; what becomes of it comes from `poll`. Never waits for the keeper."""
        if order.key in self._running:
            raise BrokenInvariant(f"Attempt {order.key} is already running.")
        slot = self._slot_for(order)
        slot.order, slot.shape, slot.ended, slot.cancelled = order, shape_of(order), False, None
        slot.turns = deque(order.turns)
        slot.must_end_at = time.monotonic() + order.timeout_s + _STUCK_AFTER_S
        self._running[order.key] = slot
        slot.channel.send(order_message(order))
        self._watch(slot)

    def cancel(
        self,
        key: AttemptKey,
        reason: ExitReason = ExitReason.CANCELLED,
        message: str | None = None,
        *,
        limit: int | None = None,
        observed: int | None = None,
    ) -> bool:
        """Ask a sandbox, named by its first attempt, to end, within two seconds by force. False when it is not here."""
        slot = self._running.get(key)
        if slot is None:
            return False
        slot.channel.send(
            {
                "do": "cancel",
                "key": key,
                "reason": reason.value,
                "message": message,
                "limit": limit,
                "observed": observed,
            }
        )
        slot.cancelled = slot.cancelled or (reason, message)
        slot.must_end_at = time.monotonic() + _STUCK_AFTER_S
        self._watch(slot)
        return True

    def restart(self) -> None:
        """Begin anew with a fresh zygote and fresh keepers. Raises BrokenInvariant while attempts run."""
        if self._running:
            raise BrokenInvariant(
                f"{len(self._running)} attempts run in the sandboxes that are to be restarted."
            )
        for slot in list(self._slots.values()):
            self._hang_up(slot)
        self._zygotes.stop()
        self.open()

    def processes(self) -> list[int]:
        """The process ids of the zygote and of its keepers. Safe to call from any thread."""
        zygote = self._zygotes.current
        return [] if zygote is None else zygote.processes()

    def poll(self, timeout_s: float | None) -> list[SandboxEvent]:
        """Wait for news at most this long (None: for ever) and answer all there is."""
        if self._waiting_events:
            timeout_s = 0.0
        for key, _ in self.selector.select(self._patience(timeout_s)):
            if callable(key.data):
                key.data()
        self._tend(time.monotonic())
        events, self._waiting_events = self._waiting_events, []
        return events

    def sweep_leftovers(self) -> tuple[int, int]:
        """End what earlier servers of this instance left; how many processes and groups there were. Opens if need be."""
        return self._zygotes.sweep()

    def close(self, grace_s: float = 0.0) -> list[SandboxEvent]:
        """Let running attempts finish for a while, end the rest, leave nothing behind; answers the last events."""
        until = time.monotonic() + grace_s
        events: list[SandboxEvent] = []
        while self._running and (left := until - time.monotonic()) > 0:
            events += self.poll(left)
        for key in list(self._running):
            self.cancel(key, ExitReason.EVICTED, "The service was stopped. The job can be run again.")
        until = time.monotonic() + _LEAVES_WITHIN_S
        while self._running and (left := until - time.monotonic()) > 0:
            events += self.poll(left)
        for slot in list(self._slots.values()):
            self._hang_up(slot)
        self._zygotes.stop()
        self.selector.close()
        return events + self._waiting_events

    def _slot_for(self, order: SandboxOrder) -> Slot:
        """An idle keeper that has loaded what it takes, else a new one."""
        modules = self._on_demand.needed_by(order.runner, time.monotonic())
        return self._idle.take(shape_of(order), modules) or self._new_slot(modules)

    def _new_slot(self, modules: frozenset[str]) -> Slot:
        slot = self._zygotes.fork_keeper(self._next_number, modules)
        self._next_number += 1
        self._slots[slot.number] = slot
        self.selector.register(slot.channel.fileno(), selectors.EVENT_READ, lambda: self._on_keeper(slot))
        return slot

    def _watch(self, slot: Slot) -> None:
        """Look at writability only while something could not be sent at once."""
        if slot.dead or slot.channel.fileno() < 0:
            return
        wanted = selectors.EVENT_READ | selectors.EVENT_WRITE * slot.channel.wants_write
        key = self.selector.get_key(slot.channel.fileno())
        if key.events != wanted:
            self.selector.modify(slot.channel.fileno(), wanted, key.data)

    def _on_keeper(self, slot: Slot) -> None:
        if slot.dead:  # hung up by what was heard before, in the same round of the selector
            return
        slot.channel.flush()
        for message in slot.channel.receive():
            self._heard(slot, event_of(message))
        self._look_after(slot)

    def _look_after(self, slot: Slot) -> None:
        if slot.channel.closed and not slot.dead:
            self._keeper_died(slot)
        else:
            self._watch(slot)

    def _heard(self, slot: Slot, event: SandboxEvent) -> None:
        self._waiting_events.append(event)
        match event:
            case SandboxEnd(over=False):
                self._pass_on(slot)
            case SandboxEnd() if slot.order is not None:
                self._running.pop(slot.order.key, None)
                slot.ended = True
                slot.must_end_at = None
        if isinstance(event, SandboxGone) or (
            isinstance(event, SandboxEnd) and event.over and event.tree_gone
        ):
            self._free(slot)

    def _pass_on(self, slot: Slot) -> None:
        """The next one of its batch runs now."""
        slot.turns.popleft()
        if slot.cancelled is None:
            slot.must_end_at = time.monotonic() + slot.turns[0][1] + _STUCK_AFTER_S

    def _free(self, slot: Slot) -> None:
        slot.order = None
        if slot.zygote is not self._zygotes.current:
            self._hang_up(slot)  # a keeper whose zygote is dead has nobody above it to clear up after it
        else:
            self._idle.add(slot, time.monotonic())

    def _hang_up(self, slot: Slot) -> None:
        if not slot.dead:
            self.selector.unregister(slot.channel.fileno())
            slot.channel.close()
        slot.dead = True
        self._slots.pop(slot.number, None)
        self._idle.discard(slot)

    def _keeper_died(self, slot: Slot) -> None:
        """Its attempt ends when the zygote has proven that the tree is gone."""
        self.selector.unregister(slot.channel.fileno())
        slot.channel.close()
        slot.dead = True
        self._idle.discard(slot)
        if slot.order is None:
            self._slots.pop(slot.number, None)
        elif slot.zygote is not self._zygotes.current:
            self._bury(slot, clean=False)
        else:
            slot.zygote.owes(slot.number)

    def _bury(self, slot: Slot, *, clean: bool) -> None:
        self._slots.pop(slot.number, None)
        order = slot.order
        if order is None:
            return
        if not clean:
            self._unproven.append(order.key)
        if slot.ended:
            self._waiting_events += [SandboxGone(order.key)] if clean else []
            return
        del self._running[order.key]
        left = [key for key, _ in slot.turns]
        self._waiting_events.append(lost_keeper(left, slot.cancelled, clean, self._rung_name()))

    def _rung_name(self) -> str:
        return self.rungs.in_use if self.is_open else ""

    def keeper_gone(self, number: int, *, clean: bool) -> None:
        """See `Hears`."""
        slot = self._slots.get(number)
        if slot is not None and not slot.dead:
            self._on_keeper(slot)  # its last words may still be on the way
        if slot is not None:
            self._bury(slot, clean=clean)

    def swept(self) -> None:
        """See `Hears`."""
        self._waiting_events += [SandboxGone(key) for key in self._unproven]
        self._unproven.clear()

    def zygote_died(self, what: str) -> None:
        """Keepers at work go on to the end of their attempt; idle ones are let go, and the next start makes a new zygote."""
        for slot in self._idle:
            self._hang_up(slot)
        for slot in list(self._slots.values()):
            if slot.dead:
                self._bury(slot, clean=False)
        self.when_zygote_died(what)

    def _patience(self, timeout_s: float | None) -> float | None:
        """Wake up in time for a keeper that must have ended, and for a zygote that must have answered."""
        times = [slot.must_end_at for slot in self._running.values() if slot.must_end_at is not None]
        first = min([*times, self._zygotes.must_answer_at()])
        if first == float("inf"):
            return timeout_s
        left = max(first - time.monotonic(), 0.0)
        return left if timeout_s is None else min(left, timeout_s)

    def _tend(self, now: float) -> None:
        """Kill keepers that hang, and a zygote that does; let go of keepers that have been idle for long."""
        self._zygotes.end_standstill(now)
        for slot in self._running.values():
            if slot.must_end_at is not None and now >= slot.must_end_at:
                slot.must_end_at = now + _STUCK_AFTER_S
                self._zygotes.kill_keeper(slot.number)
        if self._unproven and now >= self._sweep_at:
            self._prove(now)
        for slot in self._idle.surplus(now):
            self._hang_up(slot)
        if not self._running and not self._unproven and self._on_demand.is_forgotten(now):
            self.restart()

    def _prove(self, now: float) -> None:
        """Of attempts that lost their keeper and their zygote nobody knows the tree: a new zygote sweeps for them.

        It ends all that is not its own, so it has to wait for the last keeper of the old one.
        """
        if all(slot.zygote is self._zygotes.current for slot in self._slots.values()):
            self._sweep_at = now + SWEPT_WITHIN_S
            self._zygotes.begin_sweep()
