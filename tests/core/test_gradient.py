from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.gradient import PUBLISHED, WARM_UP, Gradient, GradientRules, learn, untaught

SAMPLES = st.lists(
    st.tuples(st.floats(1e-6, 1e4, allow_nan=False), st.integers(0, 400)), min_size=1, max_size=200
)


def taught(short_s: float, in_flight: int, times: int, known: Gradient | None = None) -> Gradient:
    known = known or untaught()
    for _ in range(times):
        known = learn(known, short_s, in_flight)
    return known


def test_the_constants_are_those_that_netflix_published():
    assert GradientRules(20, 20, 200, 4, 0.2, 600, 1.5) == PUBLISHED
    assert untaught().limit == 20


def test_one_step_is_what_the_formula_says():
    known = Gradient(limit=100.0, long_s=0.010, samples=1000)
    long_s = 0.010 * (1 - 2 / 601) + 0.030 * (2 / 601)
    gradient = 1.5 * long_s / 0.030  # between a half and one
    assert learn(known, 0.030, 100).limit == pytest.approx(0.8 * 100 + 0.2 * (100 * gradient + 4))


def test_while_requests_take_as_long_as_ever_the_limit_grows_to_the_most():
    assert taught(0.01, 500, 12).limit == pytest.approx(20 + 12 * 0.2 * 4)
    assert taught(0.01, 500, 1000).limit == 200


def test_when_they_take_much_longer_it_falls_to_the_least():
    usual = taught(0.01, 500, 1000)
    slow = learn(usual, 0.1, 500)
    assert slow.limit == pytest.approx(0.8 * 200 + 0.2 * (200 * 0.5 + 4))
    assert taught(0.1, 500, 30, usual).limit == 20


def test_little_slower_is_tolerated():
    assert taught(0.0149, 500, 5, taught(0.01, 500, 1000)).limit == 200


def test_it_does_not_grow_while_less_than_half_of_it_is_used():
    assert taught(0.01, 9, 1000).limit == 20
    assert taught(0.01, 10, 5).limit > 20


def test_the_first_samples_make_the_average_by_themselves():
    known = untaught()
    for short_s in range(1, WARM_UP + 1):
        known = learn(known, float(short_s), 0)
    assert known.long_s == pytest.approx(5.5)


def test_bad_times_are_forgotten_faster_than_they_were_learned():
    bad = taught(1.0, 500, 2000)
    steps, known = 0, bad
    while known.long_s > 0.02:
        known = learn(known, 0.01, 0)
        steps += 1
    assert steps < 100  # with the average alone it would be more than a thousand


@given(SAMPLES)
def test_the_limit_stays_within_its_bounds_whatever_comes(samples: list[tuple[float, int]]):
    known = untaught()
    for short_s, in_flight in samples:
        before = known
        known = learn(known, short_s, in_flight)
        assert PUBLISHED.least <= known.limit <= PUBLISHED.most
        assert known.limit <= before.limit + PUBLISHED.queue * PUBLISHED.smoothing + 1e-9
        assert known.limit >= before.limit * (1 - PUBLISHED.smoothing / 2) - 1e-9
        assert known.long_s > 0
