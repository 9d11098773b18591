"""Background duties: each a file of this folder with one `run_once`, all run by one thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tidegate.ports import Clock

log = logging.getLogger("tidegate.duties")


class Duty(Protocol):
    """Something to be done again and again. `run_once` must be safe to repeat, and to be left out for a while."""

    name: str
    interval_s: float

    def run_once(self, now: datetime) -> None: ...


class DutyRunner:
    """Runs duties on one thread, each at its interval. A failure is logged and tried again at the next turn."""

    def __init__(self, duties: Sequence[Duty], clock: Clock) -> None:
        self._duties = duties
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="tidegate-duties", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        due = {duty.name: self._clock.monotonic() + duty.interval_s for duty in self._duties}
        while not self._stop.wait(max(min(due.values(), default=1.0) - self._clock.monotonic(), 0.0)):
            for duty in self._duties:
                if self._clock.monotonic() >= due[duty.name]:
                    self._do(duty)
                    due[duty.name] = self._clock.monotonic() + duty.interval_s

    def _do(self, duty: Duty) -> None:
        try:
            duty.run_once(self._clock.now())
        except Exception:
            log.exception("The duty %s failed; it will be tried again in %g s.", duty.name, duty.interval_s)
