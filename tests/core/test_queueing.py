from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tidegate.core.job import Priority, TaskKey, WaitingTask
from tidegate.core.queueing import Backlog, order_key
from tidegate.testing.scenario import a_task


def keys(backlog: Backlog, depth: int = 256) -> list[list[int]]:
    return [[task.key.job_id for task in line.heads] for line in backlog.lines(depth)]


def test_priority_comes_before_age_and_age_before_number():
    tasks = [
        a_task(1, 2),
        a_task(1, 1),
        a_task(3, priority=Priority.HIGH),
        a_task(2, priority=Priority.HIGH),
        a_task(0, priority=Priority.LOW),
    ]
    order = [task.key for task in sorted(tasks, key=order_key)]
    assert order == [(2, 1), (3, 1), (1, 1), (1, 2), (0, 1)]


def test_tasks_of_one_queue_owner_and_shape_stand_in_one_line():
    backlog = Backlog()
    backlog.apply(
        [
            a_task(3),
            a_task(1),
            a_task(2, owner="bob"),
            a_task(4, queue="other"),
            a_task(5, cpus=2),
            a_task(6),
        ],
        (),
    )
    assert sorted(keys(backlog)) == [[1, 3, 6], [2], [4], [5]]


def test_a_line_shows_its_first_tasks_and_counts_all():
    backlog = Backlog()
    backlog.apply([a_task(n) for n in range(1, 8)], ())
    (line,) = backlog.lines(depth=3)
    assert ([task.key.job_id for task in line.heads], line.waiting) == ([1, 2, 3], 7)
    (line,) = backlog.lines(depth=5)
    assert len(line.heads) == 5


def test_a_task_that_comes_back_changed_replaces_the_old_one():
    backlog = Backlog()
    backlog.apply([a_task(1), a_task(2)], ())
    again = replace(a_task(1, cpus=2), attempts=1)
    backlog.apply([again], ())
    assert backlog.find(TaskKey(1, 1)) == again
    assert sorted(keys(backlog)) == [[1], [2]]
    assert backlog.waiting() == 2


def test_a_task_that_stopped_and_began_to_wait_at_once_waits():
    backlog = Backlog()
    backlog.apply([a_task(1)], [TaskKey(1, 1)])
    assert keys(backlog) == [[1]]


def test_taking_the_first_ones_of_a_long_line_keeps_the_rest():
    backlog = Backlog()
    backlog.apply([a_task(n) for n in range(5000)], ())
    for start in range(0, 4000, 500):
        backlog.started(TaskKey(n, 1) for n in range(start, start + 500))
    assert keys(backlog, depth=2000) == [list(range(4000, 5000))]
    assert backlog.position(TaskKey(4999, 1)) == 1000


def test_many_changes_in_the_middle_of_a_line_keep_its_order():
    backlog = Backlog()
    backlog.apply([a_task(n) for n in range(0, 6000, 2)], ())
    backlog.apply([a_task(n) for n in range(1, 6000, 2)], ())
    backlog.apply((), [TaskKey(n, 1) for n in range(1, 6000, 3)])
    assert keys(backlog, depth=9000) == [[n for n in range(6000) if n % 3 != 1]]


def test_the_position_counts_all_lines_of_the_queue_and_no_other_queue():
    backlog = Backlog()
    backlog.apply(
        [
            a_task(1),
            a_task(2, owner="bob"),
            a_task(3, cpus=2, priority=Priority.HIGH),
            a_task(4, queue="other"),
            a_task(5, priority=Priority.LOW),
        ],
        (),
    )
    assert [backlog.position(TaskKey(n, 1)) for n in (3, 1, 2, 5, 4, 9)] == [1, 2, 3, 4, 1, None]


def test_a_newcomer_stands_behind_those_of_its_own_and_higher_priority():
    backlog = Backlog()
    backlog.apply(
        [a_task(1), a_task(2, cpus=2), a_task(3, priority=Priority.LOW), a_task(4, priority=Priority.HIGH)],
        (),
    )
    assert [backlog.ahead_of_new("default", priority) for priority in Priority] == [4, 3, 1]
    assert backlog.ahead_of_new("unknown", Priority.NORMAL) == 0


def test_the_first_waiting_task_of_a_job_is_found():
    backlog = Backlog()
    backlog.apply([a_task(7, number) for number in (1, 2, 3)], ())
    backlog.started([TaskKey(7, 1)])
    first = backlog.first_of(7)
    assert first is not None
    assert first.key == (7, 2)
    backlog.started([TaskKey(7, 3), TaskKey(7, 2)])
    assert backlog.first_of(7) is None
    assert backlog.first_of(8) is None


def test_an_emptied_backlog_shows_no_lines():
    backlog = Backlog()
    backlog.apply([a_task(1), a_task(2, queue="other")], ())
    backlog.apply((), [TaskKey(1, 1), TaskKey(2, 1), TaskKey(3, 1)])
    assert (backlog.lines(), backlog.waiting(), backlog.waiting("default")) == ((), 0, 0)


class BacklogAgainstASortedList(RuleBasedStateMachine):
    """Whatever comes and goes, in whatever order: the backlog shows what a plain sorted list would."""

    tasks = st.builds(
        a_task,
        st.integers(1, 40),
        st.integers(1, 2),
        queue=st.sampled_from(["a", "b"]),
        owner=st.sampled_from(["ann", "bob"]),
        priority=st.sampled_from(Priority),
        cpus=st.sampled_from([1, 2]),
    )
    names = st.builds(TaskKey, st.integers(1, 40), st.integers(1, 2))

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.model: dict[TaskKey, WaitingTask] = {}

    @rule(waiting=st.lists(tasks, max_size=8), gone=st.lists(names, max_size=8))
    def apply(self, waiting, gone):
        self.backlog.apply(waiting, gone)
        for key in gone:
            self.model.pop(key, None)
        self.model.update({task.key: task for task in waiting})

    @rule(keys=st.lists(names, max_size=8))
    def started(self, keys):
        self.backlog.started(keys)
        for key in keys:
            self.model.pop(key, None)

    @invariant()
    def every_line_is_the_sorted_list_of_its_tasks(self):
        shown = {(line.key, task.key) for line in self.backlog.lines(999) for task in line.heads}
        assert {key for _, key in shown} == set(self.model)
        assert len(shown) == len(self.model) == self.backlog.waiting()
        for line in self.backlog.lines(999):
            assert list(line.heads) == sorted(line.heads, key=order_key)
            assert all((task.queue, task.owner, task.shape) == line.key for task in line.heads)
            assert all(self.model[task.key] == task for task in line.heads)
            assert 0 < line.waiting == len(line.heads)

    @invariant()
    def positions_number_each_queue_from_one(self):
        for queue in ("a", "b"):
            standing = sorted((t for t in self.model.values() if t.queue == queue), key=order_key)
            assert [self.backlog.position(task.key) for task in standing] == list(range(1, len(standing) + 1))
            assert self.backlog.waiting(queue) == len(standing)


TestBacklogAgainstASortedList = BacklogAgainstASortedList.TestCase
TestBacklogAgainstASortedList.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_the_first_waiting_task_of_a_large_job_is_the_one_with_the_lowest_number():
    backlog = Backlog()

    def first() -> TaskKey | None:
        task = backlog.first_of(1)
        return None if task is None else task.key

    backlog.apply([a_task(1, number) for number in range(1, 6)], ())
    assert first() == TaskKey(1, 1)
    backlog.apply((), [TaskKey(1, number) for number in (1, 2, 4)])
    assert first() == TaskKey(1, 3)
    backlog.apply([replace(a_task(1, 2), attempts=1)], ())
    assert first() == TaskKey(1, 2)
    backlog.apply((), [TaskKey(1, number) for number in (2, 3, 5)])
    assert first() is None
