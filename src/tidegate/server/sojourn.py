"""How long those wait for their turn who find others before them: the sojourn.

As in CoDel the least wait of a while counts, not the mean: a burst that is worked off leaves some who waited for nothing,
a line that stands leaves none.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic


class Sojourn:
    """One place to wait at, first come first served. Safe to call from any thread; instants are monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[float] = deque()
        """Since when those wait who are there, the first one first."""
        self._least_s = math.inf

    def found_free(self) -> None:
        """Somebody came and need not wait: no line stands here."""
        self._least_s = 0.0

    def joined(self) -> float:
        """Somebody waits from now on; what `ended` wants to hear of him."""
        now_s = self.clock()
        with self._lock:
            self._waiting.append(now_s)
        return now_s

    def ended(self, since_s: float) -> None:
        """The wait that began then is over: it was his turn, or he was turned away."""
        waited_s = self.clock() - since_s
        with self._lock:
            self._remove(since_s)
            self._least_s = min(self._least_s, waited_s)

    def given_up(self, since_s: float) -> None:
        """Likewise, but he went away by himself, which says nothing."""
        with self._lock:
            self._remove(since_s)

    def least_s(self) -> float:
        """The least wait that was over since this was last asked. When none was: how long the first one has waited so far."""
        now_s = self.clock()
        with self._lock:
            least_s, self._least_s = self._least_s, math.inf
            if math.isfinite(least_s):
                return least_s
            return now_s - self._waiting[0] if self._waiting else 0.0

    def _remove(self, since_s: float) -> None:
        if self._waiting and self._waiting[0] == since_s:
            self._waiting.popleft()
        else:
            self._waiting.remove(since_s)


class Sojourns:
    """The sensor of `sojourn_s` and `thread_wait_s`: the places of a server at which requests wait.

    What runs in sandboxes, and streams, wait at gates of their own for what the machine can do, which is no pressure on the
    service, so these gates are none of the places.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.threads = Sojourn(clock)
        """Before the threads that read the store: whoever waits here has passed his gate, and nobody turns him away."""
        self.intake = Sojourn(clock)
        self._places = [self.threads, self.intake]

    def gate(self) -> Sojourn:
        """One more place, before a gate."""
        place = Sojourn(self._clock)
        self._places.append(place)
        return place

    def read(self) -> Mapping[str, float]:
        """The worst place counts. To be asked no oftener than each 100 ms, the interval of CoDel."""
        threads_s, *others_s = (place.least_s() for place in self._places)
        return {"sojourn_s": max(threads_s, *others_s), "thread_wait_s": threads_s}
