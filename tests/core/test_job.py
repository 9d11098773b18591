from __future__ import annotations

from itertools import product

import pytest

from tidegate.core.job import AttemptKey, Priority, TaskKey, parse_job_id
from tidegate.core.states import (
    ATTEMPT_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptState,
    JobStatus,
    TaskState,
    check_attempt_transition,
    check_task_transition,
)
from tidegate.errors import IllegalTransition, InvalidInput, NotFound


def test_priorities_are_ordered_and_known_by_name():
    assert Priority.parse("low") < Priority.parse("Normal") < Priority.parse("HIGH")
    assert [str(priority) for priority in Priority] == ["low", "normal", "high"]


@pytest.mark.parametrize("bad", ["urgent", "", None, 1])
def test_an_unknown_priority_is_refused_with_the_choices(bad):
    with pytest.raises(InvalidInput, match="low, normal, high"):
        Priority.parse(bad)


@pytest.mark.parametrize(("old", "new"), list(product(TaskState, TaskState)))
def test_a_task_changes_as_the_table_says_and_not_otherwise(old, new):
    key = TaskKey(81, 2)
    if new in TASK_TRANSITIONS[old]:
        check_task_transition(key, old, new)
    else:
        with pytest.raises(IllegalTransition, match=rf"Task 81\.2 cannot go from {old} to {new}\."):
            check_task_transition(key, old, new)


@pytest.mark.parametrize(("old", "new"), list(product(AttemptState, AttemptState)))
def test_an_attempt_changes_as_the_table_says_and_not_otherwise(old, new):
    key = AttemptKey(81, 2, 3)
    if new in ATTEMPT_TRANSITIONS[old]:
        check_attempt_transition(key, old, new)
    else:
        with pytest.raises(IllegalTransition, match=rf"Attempt 81\.2\.3 cannot go from {old} to {new}\."):
            check_attempt_transition(key, old, new)


def test_exactly_the_final_states_have_no_way_out():
    assert {state for state in TaskState if not TASK_TRANSITIONS[state]} == {s for s in TaskState if s.final}
    assert {state for state in AttemptState if not ATTEMPT_TRANSITIONS[state]} == {
        s for s in AttemptState if s.final
    }
    assert {status for status in JobStatus if status.final} == {"SUCCEEDED", "FAILED", "CANCELLED"}


def test_every_task_state_can_be_reached_from_submission():
    reached = {TaskState.SCHEDULED, TaskState.QUEUED}
    while True:
        further = reached.union(*(TASK_TRANSITIONS[state] for state in reached))
        if further == reached:
            break
        reached = further
    assert reached == set(TaskState)


def test_keys_are_written_with_dots_and_read_back():
    key = AttemptKey(81, 2, 3)
    assert (str(key), str(key.task)) == ("81.2.3", "81.2")
    assert TaskKey.parse("81.2") == key.task
    assert parse_job_id("81") == 81


@pytest.mark.parametrize("bad", ["", "81", "81.", ".2", "81.2.3", "a.b", "-1.2", "81.٢", "1" * 29 + ".1"])
def test_what_is_no_task_id_names_no_task(bad):
    with pytest.raises(NotFound):
        TaskKey.parse(bad)


@pytest.mark.parametrize("bad", ["", "81.1", "-1", " 1", "٨", "1" * 19])
def test_what_is_no_job_id_names_no_job(bad):
    with pytest.raises(NotFound):
        parse_job_id(bad)
