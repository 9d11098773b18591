"""A thread of one part of the service that is begun again when it crashes."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from tidegate.core.recovery import restart_delay_s

log = logging.getLogger("tidegate.recovery")


class Crashed(Protocol):
    """Hears of a crash; how many seconds to wait before the part is begun again."""

    def __call__(self, part: str, what: str) -> float: ...


@dataclass(frozen=True, slots=True)
class PartHealth:
    """How a part of this process does. `down_s`: how long ago it crashed, while it is not begun again yet; `stands_still_s`:
    for how long it has been at one thing, where that is longer than it may be."""

    name: str
    alive: bool
    crashes: int = 0
    last_crash: str | None = None
    stands_still_s: float | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong, for people; None when nothing is."""
        if self.stands_still_s is not None:
            return f"{self.name} stands still for {self.stands_still_s:.0f} s"
        return None if self.alive else f"{self.name} is down: {self.last_crash or 'it has ended'}"


class KeptThread:
    """Runs `body` on a thread named `tidegate-<part>` until it returns. When it raises it is begun again after a delay.

    `crashed` counts and says the delay; without it the part counts for itself. While it is at work, between `working` and its
    end, it may take `patience_s`. Nobody can end a thread of Python, so a part that stands still is only told of.
    """

    def __init__(
        self,
        part: str,
        body: Callable[[], None],
        crashed: Crashed | None = None,
        *,
        patience_s: float = 120.0,
    ) -> None:
        self.part = part
        self.patience_s = patience_s
        self._body = body
        self._crashed = crashed or Unsupervised()
        self._stopping = threading.Event()
        self._down = False
        self._crashes = 0
        self._last_crash: str | None = None
        self._busy_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"tidegate-{part}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wait for the end of the body, which must know by now that it shall end. One that is down ends in order first."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_self(self) -> bool:
        """Whether the caller runs on it."""
        return threading.current_thread() is self._thread

    def is_alive(self) -> bool:
        """Whether the thread is there and its body runs."""
        return self._thread.is_alive() and not self._down

    @contextlib.contextmanager
    def working(self, now_s: Callable[[], float]) -> Iterator[None]:
        """What is done inside must not take longer than the part's patience."""
        self._busy_since_s = now_s()
        try:
            yield
        finally:
            self._busy_since_s = None

    def health(self, now_s: float) -> PartHealth:
        since_s = self._busy_since_s
        busy_s = None if since_s is None else now_s - since_s
        still_s = busy_s if busy_s is not None and busy_s > self.patience_s else None
        return PartHealth(self.part, self.is_alive(), self._crashes, self._last_crash, still_s)

    def where(self) -> str:
        """Where its code is at this moment, for who wants to know why it stands still."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "nowhere" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def _run(self) -> None:
        while True:
            try:
                self._body()
                return
            except BaseException as error:
                log.exception("The part %s of the service crashed.", self.part)
                if self._stopping.is_set():
                    return
                self._wait_after(f"{type(error).__name__}: {error}")

    def _wait_after(self, what: str) -> None:
        self._down, self._busy_since_s = True, None
        self._crashes += 1
        self._last_crash = what
        delay_s = self._crashed(self.part, what)
        self._stopping.wait(delay_s)
        self._down = False


class Unsupervised:
    """Counts the crashes of parts that no `Supervisor` hears of, for their delays alone. Called from one thread."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._times: dict[str, list[datetime]] = {}

    def __call__(self, part: str, what: str) -> float:
        now, earlier = datetime.now(UTC), self._times.get(part, [])
        delay_s = restart_delay_s(earlier, now, self._chance())
        self._times[part] = [*earlier[-20:], now]
        log.error(
            "%s crashed; it is begun again in %.1f s. %s",
            part, delay_s, what,
            extra={"event": "part_crashed", "part": part, "crashes": len(earlier) + 1, "delay_s": round(delay_s, 3)},
        )  # fmt: skip
        return delay_s
