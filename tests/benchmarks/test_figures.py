"""The statistics that the benchmarks are made of, and how a figure is judged."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    Blocks,
    Figure,
    at_least,
    at_most,
    blocks_in_turn,
    claim,
    in_turn,
    median,
    number,
    percentile,
)

values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50)


@given(values, st.floats(0, 1))
def test_a_percentile_is_a_value_with_that_share_at_or_below_it(data, share):
    found = percentile(data, share)
    assert found in data
    assert sum(one <= found for one in data) >= share * len(data) - 1e-9


@given(values)
def test_the_percentiles_of_all_and_of_none_are_the_extremes(data):
    assert (percentile(data, 0.0), percentile(data, 1.0)) == (min(data), max(data))


def test_nearest_rank_does_not_hide_a_rare_slow_answer():
    assert percentile([1.0] * 98 + [500.0, 900.0], 0.99) == 500.0


@given(values)
def test_half_of_the_values_lie_on_each_side_of_the_median(data):
    middle = median(data)
    assert sum(one < middle for one in data) <= len(data) / 2
    assert sum(one > middle for one in data) <= len(data) / 2


@pytest.mark.parametrize("measure", [median, lambda data: percentile(data, 0.5)])
def test_nothing_measured_is_an_error(measure):
    with pytest.raises(ValueError, match="of nothing"):
        measure([])


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_of_0_to_1_is_an_error(share):
    with pytest.raises(ValueError, match="share"):
        percentile([1.0], share)


def test_two_things_are_measured_in_turn_and_each_goes_first_as_often():
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    compared = in_turn(lambda: measure("a", 1.0), lambda: measure("b", 2.0), 4)
    assert order == ["a", "b", "b", "a"] * 2
    assert compared.ratio == 2.0


def test_a_steady_drift_of_the_machine_does_not_move_the_ratio_much():
    clock = itertools.count(100)
    compared = in_turn(lambda: float(next(clock)), lambda: float(next(clock)), 10)
    assert compared.ratio == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(
    ("asked", "measured", "verdict"),
    [
        (at_most(20), 20.0, "met"),
        (at_most(20), 20.1, "short"),
        (at_least(800), 800.0, "met"),
        (at_least(800), 799.0, "short"),
        (at_most(20), math.nan, "short"),
        (at_least(800), math.inf, "short"),
        (None, 1.0, ""),
    ],
)
def test_a_figure_is_judged_by_what_was_asked(asked, measured, verdict):
    assert Figure("x", measured, "ms", asked).verdict == verdict


def test_a_claim_with_a_violation_is_broken_and_names_it():
    held, broken = claim("lost jobs", [], "90 jobs"), claim("lost jobs", ["job 7"])
    assert (held.verdict, held.note) == ("met", "90 jobs")
    assert (broken.verdict, broken.note, broken.measured) == ("broken", "job 7", 1.0)


@pytest.mark.parametrize(
    "figure", [Figure("x", math.nan, "ms", at_most(3), "why"), Figure("y", 2.5), claim("z", [1])]
)
def test_figures_survive_json(figure):
    again = Figure.from_json(figure.as_json())
    assert again.as_json() == figure.as_json()
    assert again.verdict == figure.verdict


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1234.5, "1,234"),
        (61.27, "61.3"),
        (0.04567, "0.0457"),
        (5000, "5,000"),
        (math.nan, "none"),
    ],
)
def test_numbers_are_shown_as_a_reader_wants_them(value, shown):
    assert number(value) == shown


def test_blocks_in_turn_are_judged_by_all_their_values_and_say_how_sure_that_is():
    order: list[str] = []

    def measure(name: str, values: list[float]) -> list[float]:
        order.append(name)
        return values

    blocks = blocks_in_turn(
        lambda: measure("a", [1.0] * 18 + [2.0, 9.0]), lambda: measure("b", [3.0] * 20), 3
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert blocks.ratio(0.95) == 1.5
    assert blocks.interval(0.95) == (1.5, 1.5)
    uneven = Blocks([[1.0], [1.0], [1.0]], [[1.0], [1.0], [2.0]])
    assert uneven.interval(0.5) == (1.0, 2.0)
