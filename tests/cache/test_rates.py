"""Rates of owners: in the process and on a real Redis, by one suite."""

from __future__ import annotations

import itertools

import pytest

from tidegate.app.wiring import rate_limiter
from tidegate.cache.rates import AGAIN_S, LocalRates, RedisRates, rules_of
from tidegate.errors import SettingError
from tidegate.settings import Settings
from tidegate.testing.conformance.rates import RULES, RateLimiterConformance
from tidegate.testing.servers import Redis

_numbers = itertools.count()


class TestLocalRates(RateLimiterConformance):
    @pytest.fixture
    def limiter(self) -> LocalRates:
        return LocalRates(rules_of(RULES))


class TestRedisRates(RateLimiterConformance):
    @pytest.fixture
    def limiter(self, redis: Redis) -> RedisRates:
        return RedisRates(rules_of(RULES), redis.url, f"rates-{next(_numbers)}")


def test_servers_of_a_cluster_count_together(redis: Redis):
    one, other = (RedisRates(rules_of("2/hour"), redis.url, "together") for _ in range(2))
    assert [one.take("ada"), other.take("ada")] == [None, None]
    assert one.take("ada") is not None
    assert RedisRates(rules_of("2/hour"), redis.url, "another").take("ada") is None


def test_without_redis_each_counts_by_itself_and_asks_again_after_a_while(
    caplog: pytest.LogCaptureFixture,
):
    now_s = 0.0
    limiter = RedisRates(rules_of("2/hour"), "redis://127.0.0.1:1", "gone", clock=lambda: now_s)
    assert [limiter.take("ada") for _ in range(2)] == [None, None]
    assert limiter.take("ada") is not None
    assert len(caplog.records) == 1
    now_s = AGAIN_S + 1
    assert limiter.take("ada") is not None
    assert len(caplog.records) == 1  # it was asked again, and said so once


def test_rules_are_read_from_text():
    assert [str(rule) for rule in rules_of("20/second; 600/minute")] == [
        "20 per 1 second",
        "600 per 1 minute",
    ]
    with pytest.raises(SettingError, match="Write it as `600/minute`"):
        rules_of("often")


def test_the_settings_say_where_is_counted():
    assert rate_limiter(Settings()) is None
    assert isinstance(rate_limiter(Settings(rate_limit="9/second")), LocalRates)
    cluster = Settings(rate_limit="9/second", broker_url="redis://b", redis_url="redis://r")
    assert isinstance(rate_limiter(cluster), RedisRates)
