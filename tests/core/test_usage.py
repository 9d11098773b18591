"""Sums, and quantiles from counts."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.usage import (
    HOUR,
    NEVER_STARTED,
    WAIT_BOUNDS_US,
    Tally,
    UsageRecord,
    hour_of,
    total,
    wait_bucket,
    whole_hours,
)

WAITS_US = st.lists(st.integers(min_value=10_001, max_value=10**12), min_size=1, max_size=200)


def record(waits_us: list[int], name: str = "a") -> UsageRecord:
    found = UsageRecord(name)
    for wait in waits_us:
        found = found.plus(UsageRecord("", Tally(jobs=1, wait_seconds=wait / 1e6), {wait_bucket(wait): 1}))
    return found


@given(WAITS_US, st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_quantiles_of_waits_are_close(waits_us: list[int], share: float) -> None:
    true_us = sorted(waits_us)[max(math.ceil(share * len(waits_us)), 1) - 1]
    found_s = record(waits_us).wait_quantile_s(share)
    assert found_s == pytest.approx(true_us / 1e6, rel=0.112)


@given(WAITS_US, WAITS_US)
def test_sums_of_parts_are_those_of_the_whole(some: list[int], others: list[int]) -> None:
    together = total("a", [record(some), record(others)])
    assert together.waits == record(some + others).waits
    assert together.wait_mean_s == pytest.approx(statistics.fmean(some + others) / 1e6)
    assert together.started == together.tally.jobs == len(some) + len(others)


def test_the_longest_and_shortest_waits_have_a_place() -> None:
    assert [wait_bucket(wait) for wait in (-5, 0, 10_000, 10_001)] == [0, 0, 0, 1]
    assert wait_bucket(10**15) == len(WAIT_BOUNDS_US)
    assert record([10**15]).wait_quantile_s(0.95) == WAIT_BOUNDS_US[-1] / 1e6
    assert record([0]).wait_quantile_s(0.95) == pytest.approx(0.005)


def test_what_never_started_is_no_wait() -> None:
    mixed = total("a", [record([2_000_000]), UsageRecord("", Tally(jobs=9), {NEVER_STARTED: 9})])
    assert (mixed.tally.jobs, mixed.started, mixed.wait_mean_s) == (10, 1, 2.0)
    assert mixed.wait_quantile_s(0.01) == pytest.approx(2.0, rel=0.112)


def test_the_bounds_are_what_they_were() -> None:
    """They give numbers in the database their meaning."""
    assert len(WAIT_BOUNDS_US) == 84
    assert WAIT_BOUNDS_US[:4] == (10_000, 12_500, 15_625, 19_531)
    assert sum(WAIT_BOUNDS_US) == 5_527_147_835_258


def test_times_are_widened_to_whole_hours() -> None:
    at = datetime(2026, 1, 31, 8, 59, 59, 999_999, tzinfo=UTC)
    assert hour_of(at) == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert hour_of(at.astimezone(timezone(timedelta(hours=5, minutes=30)))) == hour_of(at)
    assert whole_hours(at, at + timedelta(microseconds=1)) == (hour_of(at), hour_of(at) + HOUR)
    assert whole_hours(at, at + timedelta(microseconds=2)) == (hour_of(at), hour_of(at) + 2 * HOUR)
