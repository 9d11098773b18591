"""What every limiter of rates does."""

from __future__ import annotations

from tidegate.ports import RateLimiter

RULES = "3/hour; 5/day"
"""What the limiter under test has to count by."""


class RateLimiterConformance:
    """Give the fixture `limiter`: one that counts by `RULES` and has counted nothing yet."""

    def test_an_owner_may_ask_so_often_and_is_told_when_again(self, limiter: RateLimiter) -> None:
        assert [limiter.take("ada") for _ in range(3)] == [None] * 3
        over = limiter.take("ada")
        assert over is not None
        assert (over.asked, over.limit, over.window_s) == (4, 3, 3600)
        assert 3500 < over.retry_after_s <= 3600

    def test_owners_are_counted_by_themselves(self, limiter: RateLimiter) -> None:
        for _ in range(4):
            limiter.take("ada")
        assert limiter.take("grace") is None

    def test_what_is_refused_counts_for_nothing(self, limiter: RateLimiter) -> None:
        *_, over = [limiter.take("ada") for _ in range(10)]
        assert over is not None
        assert over.window_s == 3600  # of the five of the day two are left
