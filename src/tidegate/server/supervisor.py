"""Counts what crashes in this process, and keeps the mode that follows from it, which all servers share."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from tidegate.core.identity import Caller
from tidegate.core.plan import Reason
from tidegate.core.recovery import (
    MOST_CRASHES,
    WINDOW_S,
    Cause,
    Crash,
    Mode,
    SafeMode,
    explain,
    faulted,
    judge,
    left,
    ordered,
    restart_delay_s,
)
from tidegate.errors import Conflict, InSafeMode
from tidegate.ports import Bell, Clock, RecoveryStore
from tidegate.server.kept import KeptThread, PartHealth

log = logging.getLogger("tidegate.recovery")

TOPIC = "safe_mode"
"""What the bell rings when the mode has changed."""
REMEMBERED_S = 2 * WINDOW_S
"""For how long crashes are looked at; the delays of parts look back further than safe mode does."""
_TRIES = 5


class Supervisor:
    """Hears of crashes (`crashed`), keeps the mode, judges every `look_s` and answers what is allowed.

    Crashes are kept in the store, so that a process that is killed and started again knows of them, and so is the mode. While
    the store is away they are kept here. Safe to call from any thread; nothing that is asked blocks.
    """

    def __init__(
        self,
        store: RecoveryStore,
        bell: Bell,
        clock: Clock,
        place: str,
        *,
        most_crashes: int = MOST_CRASHES,
        look_s: float = 1.0,
        chance: Callable[[], float] = random.random,
        tell: Callable[[str, float, str], None] = lambda rule, value, note: None,
        count: Callable[[str], None] = lambda part: None,
        subject: str = "The service",
    ) -> None:
        """`place` names this process, the same each time it is started. `tell` hears, at each look, `safe_mode` (1 or 0)
        with a note for people; `count` hears the part of each crash. `subject` is whose mode it is."""
        self._store = store
        self._bell = bell
        self._clock = clock
        self._place = place
        self._subject = subject
        self._most = most_crashes
        self._look_s = look_s
        self._chance = chance
        self._tell = tell
        self._count = count
        self._lock = threading.Lock()
        self._state = SafeMode()
        self._mismatch: SafeMode | None = None
        self._crashes: list[Crash] = []
        """Of this process, as far back as is remembered."""
        self._untold: list[Crash] = []
        """Those that the store has not got yet."""
        self._parts: list[KeptThread] = []
        self._others: dict[str, Callable[[], PartHealth]] = {}
        self._told_still: set[str] = set()
        self._stopped = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidegate-supervisor", daemon=True)

    # What runs

    def start(self) -> None:
        """See whether this process had crashed before, and in which mode the service is. Raises Unavailable."""
        now = self._clock.now()
        earlier = self._store.begin(self._place, now)
        since = now - timedelta(seconds=REMEMBERED_S)
        self._crashes = [crash for crash in self._store.crashes(since) if crash.place == self._place]
        if earlier is not None:
            self.crashed("process", f"It began at {earlier:%H:%M:%S} UTC and did not end in order")
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """The process ends in order."""
        self._stopped.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(Exception):  # then the next start believes that this one crashed
            self._store.end(self._place)

    def tell_to(self, tell: Callable[[str, float, str], None]) -> None:
        """From now on this hears what `tell` of `__init__` would."""
        self._tell = tell

    def abandon(self) -> None:
        """Look no more, and leave the run open, as a process that is killed does. For tests."""
        self._stopped.set()
        self._awake.set()
        self._thread.join()

    def look_after(self, part: KeptThread) -> None:
        """Also tell how this one does, and that it stands still."""
        self._parts.append(part)

    def watch(self, part: str, health: Callable[[], PartHealth]) -> None:
        """Also ask this of how a part does that is begun again by others, such as the worker inside."""
        self._others[part] = health

    def crashed(self, part: str, what: str) -> float:
        """A part has crashed; how many seconds to wait before it is begun again. Never raises."""
        now = self._clock.now()
        with self._lock:
            own = [crash.at for crash in self._crashes if crash.part == part[:16]]
            crash = Crash(self._place, part[:16], now, what)
            self._crashes = [
                *(c for c in self._crashes if c.at > now - timedelta(seconds=REMEMBERED_S)),
                crash,
            ]
            self._untold.append(crash)
        self._count(part)
        delay_s = restart_delay_s(own, now, self._chance())
        log.error(
            "%s crashed, %d times in %g minutes; it is begun again in %.1f s. %s",
            part, len(own) + 1, REMEMBERED_S / 60, delay_s, what,
            extra={"event": "part_crashed", "part": part, "crashes": len(own) + 1, "delay_s": round(delay_s, 3)},
        )  # fmt: skip
        self._awake.set()
        return delay_s

    def parts(self) -> list[PartHealth]:
        """How the parts of this process do."""
        now_s = self._clock.monotonic()
        return [*(part.health(now_s) for part in self._parts), *(ask() for ask in self._others.values())]

    def fault(self) -> str | None:
        """What is wrong with the parts, for the readiness of this server."""
        return "; ".join(part.fault for part in self.parts() if part.fault) or None

    def crashes_lately(self) -> int:
        """Crashes of this process within the time that counts for safe mode."""
        since = self._clock.now() - timedelta(seconds=WINDOW_S)
        with self._lock:
            return sum(crash.at > since for crash in self._crashes)

    # What is allowed

    @property
    def state(self) -> SafeMode:
        """The mode as this process knows it: at most a second old."""
        with self._lock:
            return self._mismatch or self._state

    def share(self) -> float:
        """How much of each worker may be filled."""
        return self.state.share(self._clock.now())

    def reason(self) -> Reason | None:
        """Why what could start does not."""
        return explain(self.state, self._clock.now())

    def refusal(self) -> InSafeMode | None:
        """Why no job is taken in; None when they are."""
        state, now = self.state, self._clock.now()
        if state.takes_jobs:
            return None
        reason = explain(state, now)
        assert reason is not None
        numbers = dict(reason.numbers)
        if (at := state.leaves_at()) is not None:
            numbers["retry_after_s"] = max(round((at - now).total_seconds(), 1), 1.0)
        return InSafeMode(f"No jobs are taken. {reason.sentence}", numbers=numbers)

    # What changes it

    def look(self) -> None:
        """Bring the store what it has not got, read the mode, and judge. Raises Unavailable."""
        self._tell_crashes()
        now, state = self._clock.now(), self._store.safe_mode()
        crashes = self._crashes
        if state.mode is not Mode.NORMAL:
            crashes = self._crashes_of_all(now - timedelta(seconds=REMEMBERED_S))
        judged = judge(state, crashes, now, most_crashes=self._most)
        if judged != state:
            self._change(lambda _: judged, state)
        else:
            self._know(state)
        self._look_for_standstill()
        self._tell("safe_mode", float(self.state.mode is Mode.SAFE), self.state.message)

    def fault_found(self, cause: Cause, message: str, numbers: Mapping[str, int | float | str]) -> None:
        """Safe mode, for a fault that was found now. Raises Unavailable."""
        self._change(lambda state: faulted(state, cause, message, self._clock.now(), numbers))

    def mismatched(self, message: str) -> None:
        """Safe mode of this process alone: its database is not of its version. It ends with the process."""
        with self._lock:
            self._mismatch = faulted(SafeMode(), Cause.MIGRATION, message, self._clock.now())
        log.error("This server is in safe mode: %s", message)

    def enter(self, by: Caller, why: str) -> SafeMode:
        """An operator orders safe mode. Raises Unavailable."""
        return self._change(lambda state: ordered(state, by.owner, why, self._clock.now()), by=by)

    def leave(self, by: Caller) -> SafeMode:
        """An operator ends it. Raises Conflict when there is nothing to end, or no word can end it; and Unavailable."""
        if self._mismatch is not None:
            raise Conflict(
                f"{self._mismatch.message} Nobody can end safe mode before that is mended.", code="conflict"
            )
        return self._change(lambda state: self._left(state, by), by=by)

    def _left(self, state: SafeMode, by: Caller) -> SafeMode:
        if state.mode is Mode.NORMAL:
            raise Conflict("The service is not in safe mode.")
        return left(state, by.owner, self._clock.now())

    def _change(
        self,
        decide: Callable[[SafeMode], SafeMode],
        state: SafeMode | None = None,
        by: Caller | None = None,
    ) -> SafeMode:
        """Another server may change it at the same time: then what that made of it is looked at."""
        for _ in range(_TRIES):
            state = self._store.safe_mode() if state is None else state
            wanted = decide(state)
            if self._store.set_safe_mode(wanted, by):
                made = replace(wanted, version=state.version + 1)
                self._know(made)
                return made
            state = None
        self._know(now := self._store.safe_mode())
        return now

    def _know(self, state: SafeMode) -> None:
        with self._lock:
            known, self._state = self._state, state
        if (known.mode, known.since) == (state.mode, state.since):
            return
        if state.mode is not Mode.NORMAL or known.mode is not Mode.NORMAL:
            level = logging.ERROR if state.mode is Mode.SAFE else logging.WARNING
            log.log(
                level, "%s is in mode %s: %s", self._subject, state.mode, state.message or "all is well",
                extra={"event": "mode_changed", "mode": state.mode.value, "numbers": dict(state.numbers)},
            )  # fmt: skip
        self._bell.ring(TOPIC)
        self._bell.ring("schedule")

    def _crashes_of_all(self, since: datetime) -> list[Crash]:
        """Those of whoever shares this mode. A worker that keeps crashing rests by itself, and must not hold up the others."""
        found = self._store.crashes(since)
        return [crash for crash in found if crash.place == self._place or not crash.of_worker]

    def _tell_crashes(self) -> None:
        while self._untold:
            self._store.add_crash(self._untold[0])
            with self._lock:
                self._untold.pop(0)

    def _look_for_standstill(self) -> None:
        still = {
            part.part: part for part in self._parts if part.health(self._clock.monotonic()).stands_still_s
        }
        for name in still.keys() - self._told_still:
            self.crashed(
                name, f"It stands still for more than {still[name].patience_s:g} s at {still[name].where()}"
            )
        self._told_still = set(still)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._awake.wait(self._look_s)
            self._awake.clear()
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever the store raises, the next look tries again
                log.warning("The mode of the service could not be looked at: %s", error)


def kept(
    part: str, body: Callable[[], None], supervisor: Supervisor | None, *, patience_s: float = 120.0
) -> KeptThread:
    """A thread for a part of this process, that is begun again when it crashes; `supervisor` counts, and tells how it does."""
    thread = KeptThread(part, body, None if supervisor is None else supervisor.crashed, patience_s=patience_s)
    if supervisor is not None:
        supervisor.look_after(thread)
    return thread
