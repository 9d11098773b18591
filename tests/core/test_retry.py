from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.attempt import Exit
from tidegate.core.resources import GIB, MIB
from tidegate.core.retry import MOST_OUT_OF_MEMORY, Decision, Memory, decide, delay_s, quarantined
from tidegate.core.states import ExitReason, TaskState
from tidegate.settings import load_settings
from tidegate.testing.scenario import NOW

OWN = [
    ExitReason.ERROR,
    ExitReason.SIGNAL,
    ExitReason.MEMORY_LIMIT,
    ExitReason.TIME_LIMIT,
    ExitReason.DISK_LIMIT,
]
HOST = [ExitReason.EVICTED, ExitReason.HOST_MEMORY]


def state(reason, attempt=1, losses=0, max_attempts=1, max_losses=5) -> TaskState:
    return decide(reason, attempt, losses, max_attempts, max_losses, NOW).state


def test_success_and_cancel_are_the_end():
    assert decide(None, 1, 0, 9, 9, NOW) == Decision(TaskState.SUCCEEDED)
    assert decide(ExitReason.CANCELLED, 1, 0, 9, 9, NOW) == Decision(TaskState.CANCELLED)


@pytest.mark.parametrize("reason", OWN)
def test_what_the_task_did_itself_is_tried_as_often_as_the_job_asks(reason):
    assert state(reason) is TaskState.FAILED
    assert [state(reason, attempt, max_attempts=3) for attempt in (1, 2, 3)] == [
        "scheduled",
        "scheduled",
        "failed",
    ]


@pytest.mark.parametrize("reason", OWN)
def test_losses_use_up_none_of_the_jobs_own_attempts(reason):
    assert state(reason, attempt=4, losses=3, max_attempts=2) is TaskState.SCHEDULED
    assert state(reason, attempt=5, losses=3, max_attempts=2) is TaskState.FAILED


@pytest.mark.parametrize("reason", [*OWN, *HOST, ExitReason.LEASE_EXPIRED])
@pytest.mark.parametrize(("attempt", "losses"), [(1, 0), (2, 0), (3, 1), (4, 2), (6, 2)])
def test_what_an_orderly_stop_put_back_changes_no_decision(reason, attempt, losses):
    bare = decide(reason, attempt, losses, 2, 2, NOW)
    assert decide(reason, attempt + 9, losses, 2, 2, NOW, put_back=9) == bare


@pytest.mark.parametrize("reason", HOST)
def test_what_the_machine_did_is_tried_again_though_not_for_ever(reason):
    states = [state(reason, losses + 1, losses, max_attempts=1, max_losses=2) for losses in (0, 1, 2)]
    assert states == ["scheduled", "scheduled", "failed"]


@pytest.mark.parametrize("reason", HOST)
def test_what_the_machine_did_waits_longer_each_time_whatever_the_task_did_before(reason):
    decisions = [decide(reason, attempt=7 + losses, losses=losses, max_attempts=9, max_losses=9, now=NOW)
                 for losses in (0, 1, 2)]  # fmt: skip
    assert [decision.not_before for decision in decisions] == [
        NOW + timedelta(seconds=s) for s in (5, 10, 20)
    ]


def test_a_lost_worker_has_a_budget_of_its_own_and_no_delay():
    decisions = [
        decide(
            ExitReason.LEASE_EXPIRED, attempt=1 + losses, losses=losses, max_attempts=1, max_losses=2, now=NOW
        )
        for losses in (0, 1, 2)
    ]
    quarantined = Decision(TaskState.FAILED, quarantined=True)
    assert decisions == [Decision(TaskState.QUEUED), Decision(TaskState.QUEUED), quarantined]


def test_who_takes_its_keeper_with_it_is_tried_again_later_and_then_quarantined():
    made = [
        decide(ExitReason.SIGNAL, losses + 1, losses, 1, 2, NOW, keeper_died=True) for losses in (0, 1, 2)
    ]
    assert [one.state for one in made] == ["scheduled", "scheduled", "failed"]
    assert [one.quarantined for one in made] == [False, False, True]
    machine = decide(ExitReason.EVICTED, 3, 2, 1, 2, NOW)
    assert machine == Decision(TaskState.FAILED)  # nobody is to blame


def test_the_exit_of_a_quarantined_task_says_what_to_do():
    exit_ = quarantined(
        Exit(ExitReason.SIGNAL, "The keeper died. It can be run again.", code="keeper_died"), 6
    )
    assert exit_.code == "quarantined"
    assert exit_.message.startswith("The keeper died. This was loss 6, so the task is quarantined")
    assert "tidegate quarantine release" in exit_.message


def test_the_delay_doubles_up_to_ten_minutes():
    assert [delay_s(tries) for tries in (1, 2, 3, 7, 8, 1000)] == [5, 10, 20, 320, 600, 600]
    assert decide(ExitReason.ERROR, 2, 0, 3, 0, NOW).not_before == NOW + timedelta(seconds=10)


@given(st.integers(1, 10_000), st.floats(-1, 1))
def test_jitter_moves_a_delay_by_ten_percent_at_most(tries, jitter):
    assert delay_s(tries, jitter) == pytest.approx(delay_s(tries), rel=0.1001)


@given(
    st.sampled_from(ExitReason), st.integers(1, 20), st.integers(0, 20), st.integers(1, 9), st.integers(0, 9)
)
def test_only_scheduled_tasks_have_a_time_and_no_failure_is_tried_for_ever(
    reason, attempt, losses, most, most_losses
):
    losses = min(losses, attempt - 1)
    decision = decide(reason, attempt, losses, most, most_losses, NOW)
    assert (decision.not_before is not None) is (decision.state is TaskState.SCHEDULED)
    assert decision.state is not TaskState.SUCCEEDED
    if attempt - losses >= most + most_losses and losses >= most_losses:
        assert decision.state.final


def out_of_memory(memory: Memory | None, attempt: int = 1, max_attempts: int = 1) -> Decision:
    return decide(ExitReason.MEMORY_LIMIT, attempt, 0, max_attempts, 5, NOW, memory=memory)


@pytest.mark.parametrize(
    ("asked_mib", "peak_mib", "more_mib"), [(100, 100, 200), (100, 140, 210), (100, 0, 200), (256, 300, 512)]
)
def test_who_ran_out_of_memory_asks_for_twice_as_much_or_half_more_than_the_peak(
    asked_mib: int, peak_mib: int, more_mib: int
):
    found = out_of_memory(Memory(asked_mib * MIB, peak_mib * MIB, GIB))
    assert found == Decision(TaskState.QUEUED, None, more_mib * MIB)


def test_more_memory_is_asked_for_up_to_the_ceiling_if_that_is_worth_a_try():
    assert out_of_memory(Memory(100 * MIB, 0, 150 * MIB)).memory_bytes == 150 * MIB
    assert out_of_memory(Memory(100 * MIB, 0, 120 * MIB)) == Decision(TaskState.FAILED)
    assert out_of_memory(Memory(100 * MIB, 0, 100 * MIB)) == Decision(TaskState.FAILED)
    assert out_of_memory(None) == Decision(TaskState.FAILED)


def test_running_out_of_memory_has_a_budget_of_its_own():
    """Three attempts in all; none of them is one of the job's own, which follow with what was last asked for."""
    for raises in range(MOST_OUT_OF_MEMORY - 1):
        assert out_of_memory(Memory(MIB, MIB, GIB, raises), attempt=raises + 1).memory_bytes == 2 * MIB
    used_up = Memory(MIB, MIB, GIB, MOST_OUT_OF_MEMORY - 1)
    assert out_of_memory(used_up, attempt=3) == Decision(TaskState.FAILED)
    assert out_of_memory(used_up, attempt=3, max_attempts=2).state is TaskState.SCHEDULED
    error = decide(ExitReason.ERROR, 3, 0, 2, 5, NOW, memory=Memory(MIB, MIB, GIB, 2))
    assert error.state is TaskState.SCHEDULED  # the first try of two that was not out of memory


@given(
    asked=st.integers(MIB, GIB),
    peak=st.integers(0, 2 * GIB),
    ceiling=st.integers(0, 8 * GIB),
    raises=st.integers(0, 5),
)
def test_whatever_is_asked_for_next_is_more_and_within_the_ceiling(asked, peak, ceiling, raises):
    more = Memory(asked, peak, ceiling, raises).more_bytes()
    assert more is None or (asked < more <= ceiling and raises + 1 < MOST_OUT_OF_MEMORY)


def test_a_file_to_lint_is_tried_three_times_more_and_only_after_what_can_pass():
    most = load_settings().losses.of("lint")
    passing = (ExitReason.EVICTED, ExitReason.HOST_MEMORY, ExitReason.LEASE_EXPIRED)
    for reason in passing:
        tried = [decide(reason, losses + 1, losses, 1, most, NOW).state.final for losses in range(4)]
        assert tried == [False, False, False, True], reason
    for reason in set(ExitReason) - set(passing):
        assert decide(reason, 1, 0, 1, most, NOW).state.final, reason
    delays = [decide(ExitReason.EVICTED, losses + 1, losses, 1, most, NOW).not_before for losses in range(3)]
    assert delays == [NOW + timedelta(seconds=s) for s in (5, 10, 20)]
    assert load_settings(max_losses_of={"lint": 1}).losses.of("lint") == 1
    assert load_settings().losses.of("sql") == load_settings().max_losses
