"""How often something may be done: buckets of tokens."""

from __future__ import annotations

from collections import OrderedDict

_MOST_NAMES = 4096


class Buckets:
    """A bucket of tokens for each name, refilled with time; the names used least lately are forgotten."""

    def __init__(self, most: int, every_s: float) -> None:
        self._most = most
        self._every_s = every_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now_s: float) -> float:
        """Take a token; 0, or the seconds until there is one again."""
        left, since_s = self._left.pop(name, (float(self._most), now_s))
        left = min(left + (now_s - since_s) / self._every_s, float(self._most))
        taken = left >= 1.0
        self._left[name] = (left - 1.0 if taken else left, now_s)
        if len(self._left) > _MOST_NAMES:
            self._left.popitem(last=False)
        return 0.0 if taken else (1.0 - left) * self._every_s

    def give_back(self, name: str) -> None:
        if name in self._left:
            left, since_s = self._left[name]
            self._left[name] = (left + 1.0, since_s)
