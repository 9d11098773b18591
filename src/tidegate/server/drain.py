"""How fast queues drain, from the starts of the last minute: the basis of Retry-After and of expected starts."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidegate.core.book import JITTER

WINDOW_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
RETRY_AFTER_UNKNOWN_S = 30.0


@dataclass
class _Counts:
    total: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=deque)


class DrainMeter:
    """Counts starts a queue over a sliding minute. Times are monotonic seconds; safe to use from any thread.

    `chance` tells numbers that are uniform in [0, 1).
    """

    def __init__(self, started_at_s: float, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._began_s = started_at_s
        self._queues: dict[str, _Counts] = {}

    def started(self, starts: Mapping[str, int], now_s: float) -> None:
        """Count starts by queue."""
        with self._lock:
            for queue, count in starts.items():
                counts = self._queues.setdefault(queue, _Counts())
                counts.recent.append((now_s, count))
                counts.total += count
                self._forget(counts, now_s)

    def per_second(self, now_s: float, queue: str | None = None) -> float:
        """Starts a second of one queue or of all; 0.0 when nothing has started in the last minute."""
        with self._lock:
            counts = self._queues.values() if queue is None else filter(None, [self._queues.get(queue)])
            total = 0
            for each in counts:
                self._forget(each, now_s)
                total += each.total
        return total / min(WINDOW_S, max(now_s - self._began_s, 1.0))

    def retry_after_s(self, too_many: int, now_s: float) -> float:
        """Seconds until `too_many` tasks will have left the line, at the present rate; at least one second.

        Give or take a fifth: those who are refused together shall not come back together.
        """
        rate = self.per_second(now_s)
        wait_s = too_many / rate if rate > 0 else RETRY_AFTER_UNKNOWN_S
        told_s = wait_s * (1 - JITTER + 2 * JITTER * self._chance())
        return float(round(min(max(told_s, 1.0), LONGEST_RETRY_AFTER_S), 1))

    @staticmethod
    def _forget(counts: _Counts, now_s: float) -> None:
        while counts.recent and counts.recent[0][0] < now_s - WINDOW_S:
            counts.total -= counts.recent.popleft()[1]
