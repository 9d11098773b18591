from tidegate.server.drain import LONGEST_RETRY_AFTER_S, RETRY_AFTER_UNKNOWN_S, DrainMeter


def test_the_rate_counts_the_last_minute_only() -> None:
    meter = DrainMeter(0.0)
    meter.started({"a": 600}, 10.0)
    meter.started({"a": 60, "b": 60}, 100.0)
    assert meter.per_second(101.0) == 2.0
    assert meter.per_second(101.0, "b") == 1.0
    assert meter.per_second(161.0) == 0.0
    assert meter.per_second(101.0, "unknown") == 0.0


def test_a_young_server_divides_by_its_age() -> None:
    meter = DrainMeter(100.0)
    meter.started({"a": 50}, 105.0)
    assert meter.per_second(110.0) == 5.0


def test_retry_after_is_the_time_to_drain_within_bounds() -> None:
    meter = DrainMeter(0.0, chance=lambda: 0.5)
    assert meter.retry_after_s(5, 1.0) == RETRY_AFTER_UNKNOWN_S
    meter.started({"a": 120}, 60.0)
    assert meter.retry_after_s(20, 61.0) == 10.0
    assert meter.retry_after_s(1, 61.0) == 1.0
    assert meter.retry_after_s(10**9, 61.0) == LONGEST_RETRY_AFTER_S


def test_those_who_are_refused_together_are_told_times_that_differ_by_a_fifth_to_both_sides() -> None:
    chances = iter([0.0, 0.5, 1.0, 0.0, 1.0])
    meter = DrainMeter(0.0, chance=lambda: next(chances))
    assert [meter.retry_after_s(5, 1.0) for _ in range(3)] == [24.0, RETRY_AFTER_UNKNOWN_S, 36.0]
    meter.started({"a": 120}, 60.0)
    assert [meter.retry_after_s(20, 61.0) for _ in range(2)] == [8.0, 12.0]
