"""How fast queues drain, from the starts of the last minute: the basis of Retry-After and of expected starts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
RETRY_AFTER_UNKNOWN_S = 30.0


@dataclass
class _Counts:
    total: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=deque)


class DrainMeter:
    """Counts starts a queue over a sliding minute. Times are monotonic seconds; safe to use from any thread."""

    def __init__(self, started_at_s: float) -> None:
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
        """Seconds until `too_many` tasks will have left the line, at the present rate; at least one second."""
        rate = self.per_second(now_s)
        if rate <= 0:
            return RETRY_AFTER_UNKNOWN_S
        return float(round(min(max(too_many / rate, 1.0), LONGEST_RETRY_AFTER_S), 1))

    @staticmethod
    def _forget(counts: _Counts, now_s: float) -> None:
        while counts.recent and counts.recent[0][0] < now_s - WINDOW_S:
            counts.total -= counts.recent.popleft()[1]
