"""Crashes, delays, safe mode and the way out of it, with made-up clocks and chances."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Plan, Start, WorkerView
from tidegate.core.recovery import (
    MOST_CRASHES,
    Cause,
    Crash,
    Mode,
    SafeMode,
    explain,
    faulted,
    judge,
    left,
    ordered,
    restart_delay_s,
    within,
)
from tidegate.core.resources import GIB, Resources
from tidegate.testing.scenario import NOW

PARTS = ("zygote", "worker", "cycle", "intake", "duties", "leader", "process")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def crashes(*seconds: float, part: str = "cycle", place: str = "here") -> list[Crash]:
    return [Crash(place, part, after(at), "it broke") for at in seconds]


def test_delays_double_up_to_five_minutes_and_are_spread_over_all_of_it():
    times: list[datetime] = []
    longest = []
    for n in range(11):
        longest.append(restart_delay_s(times, after(n), 1.0))
        times.append(after(n))
    assert longest == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert restart_delay_s(times, after(11), 0.0) == 0.0
    assert restart_delay_s(times[:3], after(3), 0.25) == 2.0


def test_ten_minutes_of_health_make_delays_short_again():
    assert restart_delay_s([after(0), after(1)], after(600), 1.0) == 4.0
    assert restart_delay_s([after(0), after(1)], after(601), 1.0) == 1.0
    assert restart_delay_s([after(0), after(700), after(800)], after(900), 1.0) == 4.0


@pytest.mark.parametrize("part", PARTS)
def test_the_sixth_crash_in_ten_minutes_leads_to_safe_mode(part: str):
    five = crashes(*range(MOST_CRASHES), part=part)
    assert judge(SafeMode(), five, after(10)) == SafeMode()
    safe = judge(SafeMode(), [*five, *crashes(9, part=part)], after(10))
    assert (safe.mode, safe.cause, safe.since, safe.numbers["crashes"]) == (
        Mode.SAFE,
        Cause.CRASHES,
        after(10),
        6,
    )
    assert f"6 times in 10 minutes ({part} 6), at most 5 are borne" in safe.message
    assert not safe.takes_jobs
    assert safe.share(after(10)) == 0.0


def test_crashes_of_several_processes_or_of_longer_ago_are_not_added_up():
    here, there = crashes(1, 2, 3), crashes(1, 2, 3, place="there")
    assert judge(SafeMode(), here + there, after(10)).mode is Mode.NORMAL
    assert judge(SafeMode(), crashes(0, 1, 2, 3, 4, 600), after(600)).mode is Mode.NORMAL
    parts = crashes(1, 2, 3) + crashes(4, 5, 6, part="zygote")
    assert judge(SafeMode(), parts, after(10)).mode is Mode.SAFE


def ramp_of(state: SafeMode, seen: list[Crash]) -> list[tuple[float, str, float]]:
    """Mode and share over time, where they change: judged each second as a server does."""
    told: list[tuple[float, str, float]] = []
    for second in range(10, 1200):
        now = after(second)
        state = judge(state, [crash for crash in seen if crash.at <= now], now)
        one = (state.mode.value, state.share(now))
        if not told or told[-1][1:] != one:
            told.append((second, *one))
    return told


def test_safe_mode_is_left_after_five_minutes_of_health_in_steps_of_a_minute():
    assert ramp_of(SafeMode(), crashes(1, 2, 3, 4, 5, 9)) == [
        (10, "safe", 0.0),
        (310, "ramp", 0.10),
        (370, "ramp", 0.25),
        (430, "ramp", 0.50),
        (490, "normal", 1.0),
    ]


def test_a_crash_in_safe_mode_begins_the_five_minutes_anew_and_one_in_the_steps_leads_back():
    told = ramp_of(SafeMode(), crashes(1, 2, 3, 4, 5, 9, 100, 450))
    assert [(at, mode) for at, mode, _ in told] == [
        (10, "safe"), (400, "ramp"), (450, "safe"), (750, "ramp"), (810, "ramp"), (870, "ramp"), (930, "normal"),
    ]  # fmt: skip


def test_crashes_that_safe_mode_was_for_do_not_count_again():
    seen = crashes(1, 2, 3, 4, 5, 9)
    safe = judge(SafeMode(), seen, after(10))
    normal = left(safe, "olga", after(20))
    assert (normal.mode, normal.by, normal.share(after(20))) == (Mode.NORMAL, "olga", 1.0)
    assert judge(normal, [*seen, *crashes(21)], after(21)) == normal
    assert judge(normal, [*seen, *crashes(21, 22, 23, 24, 25, 26)], after(27)).mode is Mode.SAFE


def test_a_fault_leads_to_safe_mode_and_holds_it_as_long_as_it_is_found():
    safe = faulted(SafeMode(), Cause.LEDGER, "The ledger does not add up.", after(0))
    assert (safe.mode, safe.cause) == (Mode.SAFE, Cause.LEDGER)
    safe = faulted(safe, Cause.LEDGER, "The ledger does not add up.", after(240))
    assert judge(safe, [], after(539)).mode is Mode.SAFE
    assert judge(safe, [], after(540)).mode is Mode.RAMP


def test_what_an_operator_has_ordered_only_an_operator_ends():
    safe = ordered(SafeMode(), "olga", "we move the disks", after(0))
    assert judge(safe, [], after(10**6)) == safe
    assert "we move the disks" in safe.message
    assert left(safe, "olga", after(5)).mode is Mode.NORMAL


def test_a_task_that_waits_for_the_end_of_safe_mode_is_told_what_is_needed():
    assert explain(SafeMode(), NOW) is None
    safe = judge(SafeMode(), crashes(1, 2, 3, 4, 5, 9), after(10))
    reason = explain(safe, after(10))
    assert reason is not None
    assert reason.code == "safe_mode"
    assert "tidegate safe-mode leave" in reason.sentence
    assert f"{after(310):%H:%M:%S} UTC" in reason.sentence
    ramp = judge(safe, [], after(310))
    told = explain(ramp, after(311))
    assert told is not None
    assert "filled to 10% now" in told.sentence
    assert f"from {after(370):%H:%M:%S} UTC on" in told.sentence


def worker(name: str, taken_milli: int = 0) -> WorkerView:
    return WorkerView(name, 1, Resources(10_000, 10 * GIB, GIB), Resources(taken_milli, 0, 0))


def plan_of(*starts: tuple[str, int]) -> Plan:
    return Plan(
        tuple(
            Start(AttemptKey(number, 1, 1), "default", where, 1, Resources(cpu_milli, 0, 0))
            for number, (where, cpu_milli) in enumerate(starts, 1)
        ),
        more=True,
    )


def test_a_share_fills_each_worker_so_far_and_one_task_always_starts():
    plan = plan_of(("a", 2000), ("a", 2000), ("b", 9000), ("a", 2000), ("b", 1000))
    workers = (worker("a"), worker("b"))
    assert [start.key.job_id for start in within(plan, workers, 0.25).starts] == [1, 2, 3]
    assert within(plan, (worker("a", 2500), worker("b", 9000)), 0.25).starts == ()
    assert within(plan, workers, 0.0) == replace(plan, starts=(), more=False)
    assert within(plan, workers, 1.0) is plan


@given(
    sizes=st.lists(st.integers(1, 4000), max_size=30),
    share=st.floats(0.0, 1.0, exclude_max=True),
)
def test_never_more_than_one_start_beyond_the_share(sizes: list[int], share: float):
    kept = within(plan_of(*(("a", size) for size in sizes)), (worker("a"),), share).starts
    before_last = sum(start.resources.cpu_milli for start in kept[:-1])
    assert not kept or before_last < share * 10_000


@given(st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(PARTS)), max_size=40))
def test_whatever_crashes_the_service_comes_back_once_it_stops(times: list[tuple[int, str]]):
    seen = [Crash("here", part, after(at), "it broke") for at, part in sorted(times)]
    state = SafeMode()
    for second in range(0, 3000 + 300 + 180 + 20, 10):
        now = after(second)
        state = judge(state, [crash for crash in seen if crash.at <= now], now)
        assert (state.share(now) == 0.0) == (state.mode is Mode.SAFE)
    assert state.mode is Mode.NORMAL
