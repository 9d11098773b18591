"""Bells: inside one process, and over a real Redis that comes and goes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tidegate.cache.bell import RedisBell
from tidegate.cache.line import RedisLine
from tidegate.runtime.bell import LocalBell
from tidegate.testing.conformance.bell import BellConformance, Pair, ring_until
from tidegate.testing.fakes import RecordingBell
from tidegate.testing.servers import Redis

DEADLINE_S = 20.0


@contextlib.contextmanager
def pair(url: str, namespace: str = "bells") -> Iterator[Pair]:
    lines = [RedisLine(url, namespace) for _ in range(2)]
    try:
        yield Pair(*(RedisBell(line) for line in lines))
    finally:
        for line in lines:
            line.close()


class TestLocalBell(BellConformance):
    @pytest.fixture
    def bells(self) -> Pair:
        bell = LocalBell()
        return Pair(bell, bell)


class TestRecordingBell(BellConformance):
    @pytest.fixture
    def bells(self) -> Pair:
        bell = RecordingBell()
        return Pair(bell, bell)


class TestRedisBell(BellConformance):
    @pytest.fixture
    def bells(self, redis: Redis) -> Iterator[Pair]:
        with pair(redis.url) as bells:
            yield bells


def test_installations_on_one_redis_do_not_hear_each_other(redis: Redis):
    ours, theirs = threading.Event(), threading.Event()
    with pair(redis.url, "one") as one, pair(redis.url, "two") as two:
        one.there.subscribe("schedule", ours.set)
        two.there.subscribe("schedule", theirs.set)
        ring_until(two.here, "schedule", theirs)
        ring_until(one.here, "schedule", ours)
        ours.clear()
        ring_until(two.here, "schedule", theirs)
        assert not ours.is_set()


def test_rings_go_on_after_redis_was_away_and_everyone_is_called_when_it_is_back():
    with Redis() as redis, pair(redis.url) as bells:
        heard, called = threading.Event(), threading.Event()
        bells.there.subscribe("job:1", heard.set)
        ring_until(bells.here, "job:1", heard)
        redis.kill()
        bells.here.ring("job:1")  # neither raises nor waits
        bells.there.subscribe("job:2", called.set)
        redis.start()
        assert called.wait(DEADLINE_S)  # nobody rang: the line stands again
        heard.clear()
        ring_until(bells.here, "job:1", heard)


def test_a_ring_in_this_process_needs_no_redis():
    with pair("redis://127.0.0.1:1/0") as bells:
        heard = threading.Event()
        bells.here.subscribe("job:1", heard.set)
        bells.here.ring("job:1")
        assert heard.is_set()


def test_a_redis_that_says_nothing_any_more_is_left_and_found_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tidegate.cache.line.SILENT_S", 0.2)
    with Redis() as silent, pair(silent.url) as bells:
        heard, back = threading.Event(), threading.Event()
        bells.there.subscribe("job:1", heard.set)
        ring_until(bells.here, "job:1", heard)
        bells.there.subscribe("job:2", back.set)
        silent.pause()
        assert not back.wait(4)  # it tries, and nobody answers
        silent.resume()
        assert back.wait(DEADLINE_S)
