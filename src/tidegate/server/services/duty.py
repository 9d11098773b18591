"""Background duties: each a file of this folder with one `run_once`, all run by one thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tidegate.errors import Unavailable
from tidegate.ports import Clock
from tidegate.server.supervisor import Supervisor, kept

log = logging.getLogger("tidegate.duties")


PATIENCE_S = 900.0
"""How long a duty may take: to forget millions of jobs takes minutes."""


class Duty(Protocol):
    """Something to be done again and again. `run_once` must be safe to repeat, and to be left out for a while."""

    name: str
    interval_s: float

    def run_once(self, now: datetime) -> None: ...


class DutyRunner:
    """Runs duties on one thread, each at its interval. One that fails is tried again at its next turn, or later when it has
    crashed again and again; the others go on. That the store does not answer is no crash."""

    def __init__(self, duties: Sequence[Duty], clock: Clock, supervisor: Supervisor | None = None) -> None:
        self._duties = duties
        self._clock = clock
        self._supervisor = supervisor
        self._stop = threading.Event()
        self._thread = kept("duties", self._run, supervisor, patience_s=PATIENCE_S)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.stop()

    def _run(self) -> None:
        due = {duty.name: self._clock.monotonic() + duty.interval_s for duty in self._duties}
        while not self._stop.wait(max(min(due.values(), default=1.0) - self._clock.monotonic(), 0.0)):
            for duty in self._duties:
                if self._clock.monotonic() >= due[duty.name]:
                    wait_s = max(self._do(duty), duty.interval_s)
                    due[duty.name] = self._clock.monotonic() + wait_s

    def _do(self, duty: Duty) -> float:
        """Do it once; how many seconds to wait at least before the next turn."""
        try:
            with self._thread.working(self._clock.monotonic):
                duty.run_once(self._clock.now())
        except Unavailable as error:
            log.warning(
                "The duty %s failed; it will be tried again in %g s: %s", duty.name, duty.interval_s, error
            )
        except Exception as error:
            log.exception("The duty %s failed.", duty.name)
            if self._supervisor is not None:
                return self._supervisor.crashed(f"duty {duty.name}", f"{type(error).__name__}: {error}")
        return 0.0
