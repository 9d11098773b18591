"""The real clocks behind the `Clock` port."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

log = logging.getLogger("tidegate.clock")

STEP_S = 1.0
"""A difference above this is told: somebody has set a clock, or stood still."""


class SystemClock:
    """Time of this machine: instants in aware UTC, durations on the monotonic clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class DatabaseClock:
    """Time of the database, the same for all who use it: its time when it was last asked, and the monotonic time since.

    So neither a wrong clock of this machine nor a step of it matters. A thread asks again every `resync_s` seconds; while
    the database is away the clock runs on. Half of what the question took is counted as the way back.
    """

    def __init__(
        self,
        ask: Callable[[], datetime],
        *,
        resync_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._resync_s = resync_s
        self._monotonic = monotonic
        self._base: tuple[datetime, float] | None = None
        """An instant, and when on the monotonic clock it was; replaced as a whole, so that readers need no lock."""
        self._awake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidegate-clock", daemon=True)

    def start(self) -> None:
        """Ask for the first time, then again and again. Raises Unavailable when the database does not answer."""
        self.sync()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()

    def now(self) -> datetime:
        if self._base is None:
            self.sync()
        assert self._base is not None
        instant, at_s = self._base
        return instant + timedelta(seconds=self._monotonic() - at_s)

    def monotonic(self) -> float:
        return self._monotonic()

    def doubt(self) -> None:
        """Ask again soon: something has happened that makes the time doubtful. Does not wait."""
        self._awake.set()

    def sync(self) -> None:
        """Ask the database. Raises Unavailable when it does not answer."""
        asked_s = self._monotonic()
        instant = self._ask()
        answered_s = self._monotonic()
        before = self._base
        self._base = (instant, (asked_s + answered_s) / 2)
        if before is not None:
            step_s = (instant - before[0]).total_seconds() - (self._base[1] - before[1])
            if abs(step_s) > STEP_S:
                log.warning("The database's clock has moved by %.1f s against ours.", step_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._awake.wait(self._resync_s)
            self._awake.clear()
            if self._stopped.is_set():
                return
            try:
                self.sync()
            except Exception as error:  # noqa: BLE001 - whatever the store raises: the clock runs on
                log.warning("The database could not be asked for its time: %s", error)
