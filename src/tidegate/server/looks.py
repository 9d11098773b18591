"""Submissions that need a look at the file system are judged here, so that a slow folder holds up nobody else.

Listing a folder may take long, and on a network file system that is away it never ends; a thread in such a call cannot be
stopped. So there are a few threads, each look has a time limit, and what is late is answered without it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.core.job import NewJob
from tidegate.errors import Busy, InvalidInput, TidegateError, Unavailable
from tidegate.ports import Clock, ExecutorStats

log = logging.getLogger("tidegate.intake")

LOOKERS = 8
"""Most looks at a time; a few folders that hang must not keep the others from being looked at."""
LOOK_S = 10.0
"""Longest time that the files of one submission may take to be listed: 10,000 files take about 0.1 s on a local disk."""

Verdict = NewJob | TidegateError
Judge = Callable[[Callable[[], None]], NewJob]
"""Judges one submission; calls what it is given before each look at the file system."""


class NeedsFiles(Exception):
    """The submission cannot be judged without a look at the file system."""


def not_here() -> None:
    """For intake's own thread: raises NeedsFiles."""
    raise NeedsFiles


@dataclass
class _Look:
    """The submissions of one parcel that are to be judged with their files, and where their verdicts belong."""

    judges: dict[int, Judge]
    done: Callable[[dict[int, Verdict]], None]
    offered_at_s: float
    began_at_s: float | None = None
    """When the judging of the present submission began; None before the first."""
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    over: bool = False

    def deadline_s(self, look_s: float) -> float:
        return (self.offered_at_s if self.began_at_s is None else self.began_at_s) + look_s


class Looks:
    """Judges on threads of its own. `done` is called once for each parcel, from any thread, with all its verdicts."""

    def __init__(self, clock: Clock, *, look_s: float = LOOK_S, lookers: int = LOOKERS) -> None:
        self._clock = clock
        self._look_s = look_s
        self._lookers = lookers
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[_Look] = queue.SimpleQueue()
        self._open: list[_Look] = []
        self._completed = self._failed = 0
        self._threads = 0
        self._idle = 0

    def take(self, judges: dict[int, Judge], done: Callable[[dict[int, Verdict]], None]) -> None:
        look = _Look(judges, done, self._clock.monotonic())
        with self._lock:
            self._open.append(look)
            if self._idle < len(self._open) and self._threads < self._lookers:
                self._threads += 1
                # A daemon: one that hangs in a call must not keep the server from ending.
                threading.Thread(target=self._work, name="tidegate-look", daemon=True).start()
        self._waiting.put(look)

    def stats(self) -> ExecutorStats:
        """Of the looks; those that were answered late have failed."""
        with self._lock:
            active = sum(look.began_at_s is not None for look in self._open)
            waiting = len(self._open) - active
            return ExecutorStats(self._lookers, active, waiting, self._completed, self._failed)

    def patience_s(self) -> float | None:
        """Seconds until the next look may be late; None when there is none."""
        with self._lock:
            due = [look.deadline_s(self._look_s) for look in self._open]
        return max(min(due) - self._clock.monotonic(), 0.0) if due else None

    def answer_late(self) -> None:
        """Answer for the looks that have taken too long."""
        now_s = self._clock.monotonic()
        with self._lock:
            late = [look for look in self._open if look.deadline_s(self._look_s) <= now_s]
        for look in late:
            self._end(look, self._too_slow() if look.began_at_s is not None else self._all_busy())

    def stop(self) -> None:
        """Answer for all that are still open."""
        with self._lock:
            left = list(self._open)
        for look in left:
            self._end(look, Unavailable("The server is stopping and takes no more jobs."))

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            look = self._waiting.get()
            with self._lock:
                self._idle -= 1
            for at, judge in look.judges.items():
                if look.over:
                    break
                look.began_at_s = self._clock.monotonic()
                verdict = self._judge(judge, look)
                with self._lock:
                    look.verdicts[at] = verdict
            self._end(look, None)

    def _judge(self, judge: Judge, look: _Look) -> Verdict:
        def before_look() -> None:
            if look.over or self._clock.monotonic() >= look.deadline_s(self._look_s):
                raise self._too_slow()

        try:
            return judge(before_look)
        except TidegateError as refusal:
            return refusal
        except Exception as error:
            log.exception("A submission could not be judged.")
            return Unavailable(f"The job could not be judged: {type(error).__name__}. Try again.")

    def _end(self, look: _Look, rest: TidegateError | None) -> None:
        """Tell the verdicts, unless that was done; `rest` stands for those that are missing."""
        with self._lock:
            if look.over:
                return
            look.over = True
            self._open.remove(look)
            self._completed += rest is None
            self._failed += rest is not None
            if rest is not None:
                look.verdicts = {at: look.verdicts.get(at, rest) for at in look.judges}
        look.done(look.verdicts)

    def _too_slow(self) -> InvalidInput:
        return InvalidInput(
            f"The files that this names could not be listed within {self._look_s:g} s. Name fewer files, or look why "
            "their folder is slow.",
            code="slow_files",
            numbers={"limit": self._look_s},
        )

    def _all_busy(self) -> Busy:
        return Busy(
            f"The files that this names could not be looked at: {self._lookers} others are being listed, and their "
            f"folders are slow. Try again in {self._look_s:g} s.",
            retry_after_s=self._look_s,
            numbers={"limit": self._lookers},
        )
