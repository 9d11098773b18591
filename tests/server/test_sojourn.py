"""How long requests wait for their turn, and what of it counts."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from tidegate.server.sojourn import Sojourn, Sojourns
from tidegate.server.threads import CountedThreads
from tidegate.testing.conformance.sensor import SensorConformance


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestSojourns(SensorConformance):
    @pytest.fixture
    def sensor(self) -> Sojourns:
        return Sojourns()


def test_the_least_wait_since_the_last_look_counts(clock: Clock) -> None:
    place = Sojourn(clock)
    first, second = place.joined(), place.joined()
    clock.now_s += 0.2
    place.ended(first)
    clock.now_s += 0.1
    place.ended(second)
    assert place.least_s() == pytest.approx(0.2)
    assert place.least_s() == 0.0  # nobody came, nobody waits


def test_where_one_need_not_wait_no_line_stands(clock: Clock) -> None:
    place = Sojourn(clock)
    since_s = place.joined()
    clock.now_s += 5
    place.ended(since_s)
    place.found_free()
    assert place.least_s() == 0.0


def test_a_line_of_which_nobody_is_taken_is_as_old_as_its_first(clock: Clock) -> None:
    place = Sojourn(clock)
    first = place.joined()
    clock.now_s += 1
    second = place.joined()
    clock.now_s += 1
    assert place.least_s() == place.least_s() == pytest.approx(2)
    place.given_up(first)
    assert place.least_s() == pytest.approx(1)
    place.given_up(second)
    assert place.least_s() == 0.0


def test_the_worst_place_counts_and_threads_by_themselves(clock: Clock) -> None:
    places = Sojourns(clock)
    gate = places.gate()
    since_s = [place.joined() for place in (gate, places.intake)]
    clock.now_s += 0.05
    gate.ended(since_s[0])
    assert places.read() == {"sojourn_s": pytest.approx(0.05), "thread_wait_s": 0.0}
    places.intake.ended(since_s[1])
    places.threads.joined()
    clock.now_s += 0.2
    assert places.read() == {"sojourn_s": pytest.approx(0.2), "thread_wait_s": pytest.approx(0.2)}


def test_calls_wait_for_a_thread_only_when_none_is_free(clock: Clock) -> None:
    place = Sojourn(clock)
    threads = CountedThreads(2, "test", place)
    hold = threading.Event()
    held = [threads.submit(hold.wait, 30.0) for _ in range(2)]
    assert place.least_s() == 0.0
    late, gone = threads.submit(hold.is_set), threads.submit(hold.is_set)
    assert gone.cancel()
    clock.now_s += 3
    assert place.least_s() == pytest.approx(3)
    hold.set()
    wait([*held, late])
    assert place.least_s() == pytest.approx(3)
    assert place.least_s() == 0.0
    threads.shutdown()
