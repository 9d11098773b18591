"""How often each owner may ask."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class OverRate(NamedTuple):
    """A request more than is allowed: `asked` of `limit` in `window_s` seconds, and when there will be room."""

    asked: int
    limit: int
    window_s: int
    retry_after_s: float


class RateLimiter(Protocol):
    """Counts the requests of each owner."""

    @property
    def blocks(self) -> bool:
        """Whether `take` may wait for another machine, so that it belongs into a thread."""
        ...

    def take(self, owner: str) -> OverRate | None:
        """Count a request; None when it is within what is allowed. One that is not counts for nothing. Never raises."""
        ...
