"""How a client spares a server that refuses it: it asks less, and asks again seldom.

Both after Google's SRE book ("Handling Overload"). A client that has been refused much of late refuses a share of its requests
itself, since each refusal costs the server something too. And requests that are sent again may be only a part of all, or a
server that falters gets several times the load just then.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 120.0
_BUCKET_S = 5.0
K = 2.0
"""A client sends up to so many times what is accepted before it refuses anything itself."""
RETRY_SHARE = 0.1
FEW = 10
"""So many requests, and so many that are sent again, are no storm: a short program is spared all of this."""


@dataclass(slots=True)
class _Bucket:
    until_s: float
    requests: int = 0
    accepted: int = 0
    again: int = 0


class Throttle:
    """Counts the requests of one client over two minutes. Safe to share between threads.

    `clock` tells monotonic seconds, `chance` numbers that are uniform in [0, 1).
    """

    def __init__(self, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._buckets: deque[_Bucket] = deque()
        self._sums = _Bucket(0.0)

    def refuses(self) -> bool:
        """Whether a request had better not be sent; it counts as one that was refused. Others count by `answered`."""
        with self._lock:
            bucket = self._now()
            requests, accepted = self._sums.requests, self._sums.accepted
            share = (requests - K * accepted) / (requests + 1)
            refused = requests >= FEW and self._chance() < share
            bucket.requests += refused
            self._sums.requests += refused
        return refused

    def answered(self, *, accepted: bool) -> None:
        """Count a request by its answer: whether the server took it, whatever it said then."""
        with self._lock:
            bucket = self._now()
            for counts in (bucket, self._sums):
                counts.requests += 1
                counts.accepted += accepted

    def may_send_again(self) -> bool:
        """Whether a refused request may be sent again; if so it counts as one that was."""
        with self._lock:
            bucket = self._now()
            may = self._sums.again < max(FEW, RETRY_SHARE * self._sums.requests)
            for counts in (bucket, self._sums):
                counts.again += may
        return may

    def _now(self) -> _Bucket:
        now_s = self._clock()
        while self._buckets and self._buckets[0].until_s <= now_s - WINDOW_S:
            old = self._buckets.popleft()
            self._sums.requests -= old.requests
            self._sums.accepted -= old.accepted
            self._sums.again -= old.again
        if not self._buckets or self._buckets[-1].until_s <= now_s:
            self._buckets.append(_Bucket(now_s + _BUCKET_S))
        return self._buckets[-1]
