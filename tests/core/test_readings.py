"""Readings as values, and the short memory of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidegate.core.readings import History, Readings, Sample, readings_from, thinned

AT = datetime(2026, 1, 31, 8, tzinfo=UTC)


def sample(second: int, level: int = 0, **values: float) -> Sample:
    return Sample(AT + timedelta(seconds=second), Readings(**values), level)


def test_only_what_is_known_is_told_and_comes_back() -> None:
    readings = Readings(memory_used_percent=81.5, loop_lag_s=0.0)
    assert readings.known() == {"memory_used_percent": 81.5, "loop_lag_s": 0.0}
    assert readings_from(readings.known()) == readings


def test_what_another_version_tells_does_no_harm() -> None:
    told = {
        "memory_used_percent": 80,
        "warp_core_percent": 3.0,
        "loop_lag_s": "slow",
        "sojourn_s": float("nan"),
        "io_stall_percent": True,
    }
    assert readings_from(told) == Readings(memory_used_percent=80.0)


def test_a_history_is_bounded_and_in_order() -> None:
    history = History(most=3)
    for second in range(5):
        history.add(sample(second, sojourn_s=float(second)))
    assert [one.readings.sojourn_s for one in history] == [2.0, 3.0, 4.0]
    assert len(history.since(AT + timedelta(seconds=3))) == 2


def test_a_minute_is_kept_as_its_worst_second() -> None:
    kept = thinned(
        [
            sample(0, memory_used_percent=60, memory_free_bytes=900, read_bytes_per_s=10, loop_lag_s=0.001),
            sample(1, 2, memory_used_percent=93, memory_free_bytes=100, read_bytes_per_s=30),
            sample(2, 1, memory_used_percent=70, memory_free_bytes=600, read_bytes_per_s=20),
        ]
    )
    assert kept == sample(
        2, 2, memory_used_percent=93, memory_free_bytes=100, read_bytes_per_s=20, loop_lag_s=0.001
    )
    assert thinned([]) is None
