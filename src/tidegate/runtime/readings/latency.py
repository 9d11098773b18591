"""How fast something answers that may hang: a database, Redis."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping

from tidegate.ports import Clock

log = logging.getLogger("tidegate.pressure")

EVERY_S = 0.5
OVER_S = 10.0
FEWEST = 10
"""Answers before a p95 is told: of fewer it is only the slowest."""


class LatencySensor:
    """Asks a small question twice a second on a thread of its own: `<of>_p95_s` of the answers of the
    last 10 s, and `<of>_silent_s`, for how long an answer has been owed.

    A question that fails counts as owed from when it was first asked. `then` is done after each answer, on that thread, and
    not timed; while it hangs an answer is owed, too.
    """

    def __init__(
        self,
        of: str,
        ask: Callable[[], object],
        clock: Clock,
        *,
        name: str = "tidegate-ask",
        every_s: float = EVERY_S,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self._of = of
        self._ask = ask
        self._clock = clock
        self._every_s = every_s
        self._then = then
        self._lock = threading.Lock()
        self._answers: deque[tuple[float, float]] = deque()
        self._owed_since_s: float | None = None
        self._stopped = threading.Event()
        # A daemon, since a question that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask no more. A question under way is not waited for."""
        self._stopped.set()

    def read(self) -> Mapping[str, float]:
        now_s = self._clock.monotonic()
        with self._lock:
            self._forget(now_s)
            took = sorted(took_s for _, took_s in self._answers)
            owed_since_s = self._owed_since_s
        found = {f"{self._of}_silent_s": 0.0 if owed_since_s is None else now_s - owed_since_s}
        if len(took) >= FEWEST:
            found[f"{self._of}_p95_s"] = took[math.ceil(0.95 * len(took)) - 1]
        return found

    def ask_once(self) -> bool:
        """One question and its answer, on the calling thread; whether there was one."""
        asked_s = self._clock.monotonic()
        with self._lock:
            self._owed_since_s = asked_s if self._owed_since_s is None else self._owed_since_s
        try:
            self._ask()
        except Exception:  # noqa: BLE001 - whatever went wrong, there is no answer
            return False
        answered_s = self._clock.monotonic()
        with self._lock:
            self._owed_since_s = None
            self._answers.append((answered_s, answered_s - asked_s))
            self._forget(answered_s)
        return True

    def _forget(self, now_s: float) -> None:
        while self._answers and self._answers[0][0] < now_s - OVER_S:
            self._answers.popleft()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            if self.ask_once():
                self._do_what_waited()

    def _do_what_waited(self) -> None:
        """Something that answers what is read may still stand still when it is written."""
        with self._lock:
            self._owed_since_s = self._clock.monotonic()
        try:
            self._then()
        except Exception:
            log.exception("What waited for an answer of the %s failed; it is tried again.", self._of)
        with self._lock:
            self._owed_since_s = None
