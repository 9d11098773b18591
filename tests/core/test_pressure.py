"""Levels follow the table of the rule set, and never flap."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.storms import play, recorded, steps
from tidegate.core.pressure import (
    LEAST_S,
    LEAVE_S,
    ROWS,
    Change,
    Gauge,
    Level,
    Threshold,
    machine_rows,
    observe,
    sample_every_s,
    severity,
)
from tidegate.core.readings import Readings
from tidegate.core.resources import GIB, MIB

NORMAL, WARN, CRITICAL, EMERGENCY = Level


def levels(changes: list[Change]) -> list[tuple[float, Level]]:
    return [(change.at_s, change.after) for change in changes]


def memory(percent: float) -> Readings:
    return Readings(memory_used_percent=percent)


# The table of the rule set, row by row: readings, the level, and after how many seconds it is entered.
TABLE = [
    (Readings(memory_used_percent=80), WARN, 5),
    (Readings(memory_used_percent=90), CRITICAL, 2),
    (Readings(memory_used_percent=95), EMERGENCY, 0),
    (Readings(memory_used_percent=50, memory_free_bytes=200 * MIB), EMERGENCY, 0),
    (Readings(memory_stall_some_percent=10), WARN, 0),
    (Readings(memory_stall_some_percent=30, memory_stall_full_percent=5), CRITICAL, 0),
    (
        Readings(
            memory_stall_some_percent=30, memory_stall_full_percent=20, memory_stall_full_minute_percent=11
        ),
        EMERGENCY,
        10,
    ),
    (Readings(cpu_busy_percent=80, cpu_stall_percent=20), WARN, 0),
    (Readings(cpu_busy_percent=90, cpu_stall_percent=50), CRITICAL, 0),
    (Readings(cpu_busy_percent=100, cpu_stall_percent=100), CRITICAL, 0),
    (Readings(io_stall_percent=20), WARN, 0),
    (Readings(io_stall_percent=40), CRITICAL, 0),
    (Readings(io_stall_percent=100), CRITICAL, 0),
    (Readings(loop_lag_s=0.02), WARN, 0),
    (Readings(loop_lag_s=0.1), CRITICAL, 0),
    (Readings(loop_lag_s=0.5), EMERGENCY, 0),
    (Readings(sojourn_s=0.005), WARN, 0),
    (Readings(sojourn_s=0.02), CRITICAL, 0),
    (Readings(sojourn_s=1.0), CRITICAL, 0),
    (Readings(sojourn_s=0.1, thread_wait_s=0.1), EMERGENCY, 0),
    (Readings(database_p95_s=0.05), WARN, 0),
    (Readings(database_p95_s=0.25), CRITICAL, 0),
    (Readings(database_p95_s=0.001, database_silent_s=5), EMERGENCY, 0),
    (Readings(redis_p95_s=0.05), WARN, 0),
    (Readings(redis_p95_s=0.25), CRITICAL, 0),
    (Readings(redis_silent_s=5), WARN, 0),
    (Readings(disk_free_percent=20), WARN, 0),
    (Readings(disk_free_percent=10), CRITICAL, 0),
    (Readings(disk_free_percent=5), EMERGENCY, 0),
]


@pytest.mark.parametrize(("readings", "level", "hold_s"), TABLE)
def test_each_row_enters_at_its_threshold_after_its_time(
    readings: Readings, level: Level, hold_s: float
) -> None:
    gauge, seen = Gauge(), []
    for quarter in range(int(hold_s * 4) + 1):
        gauge, _ = observe(gauge, readings, quarter / 4)
        seen.append(max(gauge.rows.values()))
    assert seen[-1] is level
    assert all(before < level for before in seen[:-1])


BELOW = [
    Readings(memory_used_percent=79.9, memory_free_bytes=257 * MIB),
    Readings(memory_stall_some_percent=9.9, memory_stall_full_percent=4.9),
    Readings(cpu_busy_percent=100, cpu_stall_percent=19),
    Readings(cpu_busy_percent=79, cpu_stall_percent=90),
    Readings(io_stall_percent=19.9, loop_lag_s=0.0199, sojourn_s=0.0049),
    Readings(database_p95_s=0.049, database_silent_s=4.9, redis_p95_s=0.049, redis_silent_s=4.9),
    Readings(disk_free_percent=20.1),
    Readings(),
]


@pytest.mark.parametrize("readings", BELOW)
def test_below_its_thresholds_nothing_is_felt(readings: Readings) -> None:
    assert play(lambda _: readings, 120) == []


def test_a_spike_shorter_than_its_time_is_nothing() -> None:
    assert play(lambda s: memory(85 if s % 6 < 4 else 70), 600) == []


def test_memory_that_stalls_without_growing_worse_ends_nothing() -> None:
    """Out of memory, but recovering: ending a job now would end one for nothing."""
    easing = Readings(memory_stall_full_percent=40, memory_stall_full_minute_percent=45)
    assert max(at for _, at in levels(play(lambda _: easing, 120))) is CRITICAL


def test_a_memory_ramp_goes_up_step_by_step_and_comes_back() -> None:
    """Half a percent a second up to 97, ten seconds there, and down again."""

    def ramp(s: float) -> Readings:
        return memory(70 + min(s, 54) / 2 - max(min(s - 64, 54), 0) / 2)

    # Up: 80 % from 20 s on, 90 % from 40 s on, 95 % at 50 s, each after its time and no two within 10 s. Down: below 90 from
    # 78 s, below 85 from 88 s, below 75 from 108 s on, each for half a minute.
    found = levels(play(ramp, 200))
    assert [level for _, level in found] == [WARN, CRITICAL, EMERGENCY, CRITICAL, WARN, NORMAL]
    expected = [25, 42, 52, 108, 118, 138]
    assert all(0 <= at - due <= 1 for (at, _), due in zip(found, expected, strict=True)), found


def test_a_recorded_memory_ramp_is_judged_as_it_was_felt() -> None:
    """Read twice a second in a group of 4 GiB on a busy machine: filled from 69 to 96 %, held, emptied at once to 39 %."""
    series, seconds = recorded("memory_ramp")
    found = levels(play(series, seconds))
    assert [level for _, level in found] == [WARN, EMERGENCY, NORMAL]
    (warned, _), (short, _), (calm, _) = found
    assert series(warned - 5).memory_used_percent is not None
    assert (series(warned - 5).memory_used_percent or 0) >= 80
    assert (series(short).memory_free_bytes or 0) < 256 * MIB
    assert 30 <= calm - short <= 45


def test_a_cpu_without_waiting_is_no_pressure() -> None:
    """All CPUs busy for ten minutes, by jobs that yield: that is what the machine is for."""
    full = Readings(cpu_busy_percent=100, cpu_stall_percent=4, cpu_stall_all_percent=98)
    assert play(lambda _: full, 600) == []


def test_a_stalled_disk_is_critical_and_never_an_emergency() -> None:
    def disk(s: float) -> Readings:
        stall = 95 * (1 - math.exp(-max(s - 20, 0) / 10)) if s < 80 else 95 * math.exp(-(s - 80) / 10)
        return Readings(io_stall_percent=stall, cpu_busy_percent=10)

    found = levels(play(disk, 200))
    assert [level for _, level in found] == [WARN, CRITICAL, WARN, NORMAL]
    assert all(later - sooner >= LEAST_S for (sooner, _), (later, _) in pairwise(found))


def test_a_sawtooth_stays_where_it_cuts() -> None:
    """Up and down between 84 and 92 % within 20 s: entered once, and not left before it ends."""

    def saw(s: float) -> Readings:
        return memory(84 + 8 * abs(s % 20 - 10) / 10 if s < 300 else 60)

    assert [level for _, level in levels(play(saw, 400))] == [CRITICAL, NORMAL]


def test_a_saw_about_a_threshold_does_not_flap() -> None:
    assert len(play(lambda s: memory(80 if s % 2 < 1 else 76) if s > 5 else memory(81), 600)) == 1


def test_a_level_tells_the_numbers_that_made_it() -> None:
    (change,) = play(lambda _: Readings(memory_used_percent=96, memory_free_bytes=float(GIB)), 1)
    assert (change.before, change.after) == (NORMAL, EMERGENCY)
    assert change.because == {"memory": {"memory_used_percent": 96, "memory_free_bytes": GIB}}


def test_a_fall_tells_how_those_are_that_had_raised_it() -> None:
    up, down = play(lambda s: memory(92 if s < 20 else 40), 100)
    assert (up.because, down.because) == (
        {"memory": {"memory_used_percent": 92}},
        {"memory": {"memory_used_percent": 40}},
    )


def test_the_worst_row_wins() -> None:
    both = Readings(io_stall_percent=25, loop_lag_s=0.2)
    (change,) = play(lambda _: both, 5)
    assert (change.after, set(change.because)) == (CRITICAL, {"loop_lag"})


def test_a_worker_does_not_feel_what_those_who_ask_feel() -> None:
    slow_api = Readings(loop_lag_s=1, sojourn_s=1, thread_wait_s=1)
    assert play(lambda _: slow_api, 60, machine_rows(ROWS)) == []
    assert play(lambda _: memory(96), 60, machine_rows(ROWS))


@pytest.mark.parametrize(
    ("readings", "share"),
    [
        (memory(80), 0.0),
        (memory(85), 0.5),
        (memory(90), 1.0),
        (memory(99), 1.0),
        (Readings(disk_free_percent=15), 0.5),
        (Readings(cpu_busy_percent=95, cpu_stall_percent=35), 0.5),
        (Readings(memory_stall_some_percent=15, memory_stall_full_percent=2.5), 0.5),
    ],
)
def test_sheddable_work_is_refused_by_a_share_that_grows_with_the_pressure(
    readings: Readings, share: float
) -> None:
    *_, (gauge, _) = steps(lambda _: readings, 6)
    assert gauge.level >= WARN
    assert severity(gauge, readings) == pytest.approx(share)
    assert severity(Gauge(), readings) == 0


def test_looks_are_closer_under_pressure() -> None:
    assert [sample_every_s(level) for level in Level] == [1.0, 0.25, 0.25, 0.25]


def test_bounds_to_leave_are_five_points_or_seventy_percent_back() -> None:
    assert Threshold("memory_used_percent", 90).leave_bound == 85
    assert Threshold("disk_free_percent", 10, below=True).leave_bound == 15
    assert Threshold("loop_lag_s", 0.1).leave_bound == pytest.approx(0.07)
    assert Threshold("memory_free_bytes", 70, below=True).leave_bound == pytest.approx(100)


_percent = st.one_of(st.none(), st.floats(0, 100))
_seconds = st.one_of(st.none(), st.floats(0, 10))
_readings = st.builds(
    Readings,
    memory_used_percent=_percent,
    memory_stall_some_percent=_percent,
    memory_stall_full_percent=_percent,
    memory_stall_full_minute_percent=_percent,
    cpu_busy_percent=_percent,
    cpu_stall_percent=_percent,
    io_stall_percent=_percent,
    loop_lag_s=_seconds,
    sojourn_s=_seconds,
    thread_wait_s=_seconds,
    database_p95_s=_seconds,
    database_silent_s=_seconds,
    disk_free_percent=_percent,
)
_looks = st.lists(st.tuples(_readings, st.floats(0.01, 40)), min_size=1, max_size=60)


@given(_looks)
def test_whatever_is_read_levels_last_and_are_left_slowly(looks: list[tuple[Readings, float]]) -> None:
    gauge, now_s, changes = Gauge(), 0.0, []
    for readings, pause_s in looks:
        gauge, change = observe(gauge, readings, now_s)
        if change is not None:
            assert change.before is not change.after
            assert change.because
            changes.append(change)
        assert 0 <= severity(gauge, readings) <= 1
        now_s += pause_s
    for sooner, later in pairwise(changes):
        assert later.before is sooner.after
        assert later.at_s - sooner.at_s >= LEAST_S
        if later.after < later.before:  # a row that raised it was below its lower bound for half a minute
            assert later.at_s - sooner.at_s >= LEAVE_S or sooner.after < sooner.before


@given(_looks)
def test_the_same_readings_give_the_same_levels(looks: list[tuple[Readings, float]]) -> None:
    def run() -> list[Level]:
        gauge, now_s, found = Gauge(), 0.0, []
        for readings, pause_s in looks:
            gauge, _ = observe(gauge, readings, now_s)
            found.append(gauge.level)
            now_s += pause_s
        return found

    assert run() == run()


@given(st.lists(_readings, min_size=1, max_size=20))
def test_calm_always_leads_back_to_normal_within_a_minute(storm: list[Readings]) -> None:
    gauge, now_s = Gauge(), 0.0
    for readings in storm:
        gauge, _change = observe(gauge, readings, now_s)
        now_s += 1
    for _second in range(60):
        gauge, _change = observe(gauge, Readings(), now_s)
        now_s += 1
    assert gauge.level is NORMAL
