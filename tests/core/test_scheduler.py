from __future__ import annotations

import pytest

from tidegate.core.job import AttemptKey, Priority
from tidegate.core.plan import LineKey, QueueView, ReasonCode, Start
from tidegate.core.resources import Resources
from tidegate.core.scheduler import explain, plan
from tidegate.testing.scenario import NOW, a_snapshot, a_task, a_worker, amounts


def started(snapshot, **options) -> list[int]:
    return [start.key.job_id for start in plan(snapshot, NOW, **options).starts]


def reasons(snapshot, **options) -> dict[LineKey, ReasonCode]:
    return {line: reason.code for line, reason in plan(snapshot, NOW, **options).verdicts.items()}


def test_nothing_to_do_is_an_empty_plan():
    result = plan(a_snapshot(), NOW)
    assert (result.starts, dict(result.verdicts), result.more) == ((), {}, False)


def test_a_start_names_attempt_queue_worker_generation_and_resources():
    task = a_task(81, 2, queue="etl", cpus=2, memory="3GiB", attempts=1)
    (start,) = plan(a_snapshot([task], [a_worker("w", generation=7)]), NOW).starts
    assert start == Start(AttemptKey(81, 2, 2), "etl", "w", 7, amounts(2, "3GiB"))
    assert start.task == (81, 2)


def test_lines_are_merged_by_priority_then_age():
    tasks = [
        a_task(1),
        a_task(2, owner="bob", priority=Priority.LOW),
        a_task(3, cpus=0.5),
        a_task(4, queue="other", priority=Priority.HIGH),
        a_task(5, owner="bob"),
    ]
    assert started(a_snapshot(tasks, [a_worker(cpus=32, memory="64GiB")])) == [4, 1, 3, 5, 2]


def test_a_pass_charges_its_own_starts():
    tasks = [a_task(n, cpus=2) for n in range(1, 5)]
    assert started(a_snapshot(tasks, [a_worker(cpus=5)])) == [1, 2]


def test_what_runs_already_is_charged():
    assert started(a_snapshot([a_task(1, cpus=2)], [a_worker(cpus=4, allocated=amounts(3, 0))])) == []


def test_a_smaller_task_passes_a_larger_one_that_does_not_fit():
    tasks = [a_task(1, cpus=3), a_task(2, cpus=2, priority=Priority.LOW)]
    snapshot = a_snapshot(tasks, [a_worker(cpus=2)])
    assert started(snapshot) == [2]
    assert list(reasons(snapshot).values()) == [ReasonCode.TOO_LARGE]


def test_equal_shapes_keep_their_order_across_owners_and_queues():
    tasks = [a_task(n, owner=f"o{n % 3}", queue=f"q{n % 2}") for n in range(1, 9)]
    assert started(a_snapshot(tasks, [a_worker(cpus=5)])) == [1, 2, 3, 4, 5]


def test_a_paused_queue_holds_back_only_itself():
    tasks = [a_task(1, queue="a"), a_task(2, queue="b")]
    snapshot = a_snapshot(tasks, [a_worker()], [QueueView("a", paused=True)])
    result = plan(snapshot, NOW)
    assert [start.queue for start in result.starts] == ["b"]
    (reason,) = result.verdicts.values()
    assert reason.code is ReasonCode.QUEUE_PAUSED
    assert reason.sentence == "Job 1 waits because queue 'a' is paused. Resume the queue to start it."


def test_a_queue_starts_no_more_than_its_cap_and_holds_back_only_itself():
    tasks = [a_task(n, queue="a", owner=f"o{n}") for n in (1, 2, 3)] + [a_task(4, queue="b")]
    snapshot = a_snapshot(tasks, [a_worker()], [QueueView("a", running=1, max_concurrent=3)])
    result = plan(snapshot, NOW)
    assert [start.key.job_id for start in result.starts] == [1, 2, 4]
    (reason,) = result.verdicts.values()
    assert reason.sentence == "Job 3 waits because queue 'a' runs 3 tasks, at most 3 at a time."
    assert reason.numbers == {"queue": "a", "running": 3, "max_concurrent": 3}


def test_a_queue_above_its_cap_starts_nothing():
    assert (
        started(a_snapshot([a_task()], [a_worker()], [QueueView("default", running=5, max_concurrent=3)]))
        == []
    )


def test_the_budget_ends_a_pass_in_order_and_says_that_there_is_more():
    snapshot = a_snapshot([a_task(n, owner=f"o{n}") for n in range(1, 5)], [a_worker()])
    result = plan(snapshot, NOW, budget=3)
    assert ([start.key.job_id for start in result.starts], result.more) == ([1, 2, 3], True)
    assert plan(snapshot, NOW, budget=4).more is False
    (reason,) = result.verdicts.values()
    assert reason.code is ReasonCode.NOT_JUDGED


def test_a_line_that_shows_too_little_ends_the_pass_before_others_pass_it():
    tasks = [a_task(n) for n in (1, 2, 3)] + [a_task(4, owner="bob")]
    result = plan(a_snapshot(tasks, [a_worker()], depth=2), NOW)
    assert ([start.key.job_id for start in result.starts], result.more) == ([1, 2], True)
    assert {reason.code for reason in result.verdicts.values()} == {ReasonCode.NOT_JUDGED}


def test_a_pass_that_ends_for_lack_of_room_has_no_more():
    assert plan(a_snapshot([a_task(n) for n in range(9)], [a_worker()]), NOW).more is False


def test_each_line_that_waits_has_a_reason_and_no_other_line():
    tasks = [a_task(1), a_task(2), a_task(3, cpus=4), a_task(4, labels={"gpu": "x"})]
    snapshot = a_snapshot(tasks, [a_worker(cpus=2), a_worker("big", cpus=8, allocated=amounts(7.5, 0))])
    assert {(line.shape.resources.cpu_milli, code) for line, code in reasons(snapshot).items()} == {
        (4000, ReasonCode.RESOURCES),
        (1000, ReasonCode.LABELS),
    }
    with pytest.raises(KeyError):
        plan(snapshot, NOW).verdicts[LineKey("default", "ann", tasks[0].shape)]


def test_reasons_tell_what_is_left_after_the_pass():
    tasks = [a_task(1, memory="5GiB"), a_task(2, memory="5GiB")]
    (reason,) = plan(a_snapshot(tasks, [a_worker()]), NOW).verdicts.values()
    assert (
        reason.sentence == "Job 2 waits for room: 5 GiB of memory asked, 3 GiB available on worker 'local'."
    )


def test_later_tasks_of_a_job_are_named_as_tasks():
    (reason,) = plan(a_snapshot([a_task(7, 2)]), NOW).verdicts.values()
    assert reason.sentence.startswith("Task 7.2 waits")


def test_planning_changes_nothing_that_it_is_shown():
    snapshot = a_snapshot(
        [a_task(n) for n in range(9)], [a_worker()], [QueueView("default", max_concurrent=3)]
    )
    first = plan(snapshot, NOW)
    again = plan(snapshot, NOW)
    assert first.starts == again.starts
    assert dict(first.verdicts) == dict(again.verdicts)


def test_the_snapshot_after_a_plan_holds_its_starts():
    tasks = [a_task(n) for n in (1, 2, 3)]
    snapshot = a_snapshot(tasks, [a_worker(cpus=2)], [QueueView("default", running=1)], depth=3)
    after = snapshot.after(plan(snapshot, NOW).starts)
    assert after.workers[0].available == amounts(0, "6GiB", "100GiB")
    assert after.queues["default"].running == 3
    assert [([task.key.job_id for task in line.heads], line.waiting) for line in after.lines] == [([3], 1)]
    assert plan(after, NOW).starts == ()


@pytest.mark.parametrize(
    "queue",
    [QueueView("default"), QueueView("default", paused=True), QueueView("default", max_concurrent=0)],
)
@pytest.mark.parametrize(
    "workers",
    [[], [a_worker(cpus=0.5)], [a_worker(accepting=False)], [a_worker(allocated=amounts(4, 0))]],
    ids=["none", "small", "away", "full"],
)
def test_explaining_the_head_of_a_line_gives_the_reason_of_the_plan(queue, workers):
    task = a_task(81)
    snapshot = a_snapshot([task], workers, [queue])
    result = plan(snapshot, NOW)
    reason = explain(snapshot, task, NOW)
    if result.starts:
        assert reason.code is ReasonCode.NOT_JUDGED
    else:
        assert list(result.verdicts.values()) == [reason]


def test_a_task_far_back_is_explained_by_what_holds_its_line():
    tasks = [a_task(n) for n in range(1, 100)]
    snapshot = a_snapshot(tasks, [a_worker()], depth=10)
    after = snapshot.after(plan(snapshot, NOW).starts)
    reason = explain(after, tasks[-1], NOW)
    assert reason.sentence == "Job 99 waits for room: 1 CPU asked, 0 available on worker 'local'."


def test_a_task_that_fits_but_was_not_reached_is_behind_others():
    tasks = [a_task(1), a_task(2), a_task(3, queue="paused"), a_task(4)]
    snapshot = a_snapshot(tasks, [a_worker()], [QueueView("paused", paused=True)])
    reason = explain(snapshot, tasks[3], NOW)
    assert (reason.code, reason.numbers) == (ReasonCode.BEHIND, {"ahead": 2})


def batches(starts):
    """How many tasks each sandbox gets, in order."""
    sizes: dict[AttemptKey, int] = {}
    for start in starts:
        head = start.head or start.key
        sizes[head] = sizes.get(head, 0) + 1
    return list(sizes.values())


def many(count, *, batch=64, job_id=1, **changes):
    return [a_task(job_id, number, batch=batch, **changes) for number in range(1, count + 1)]


def test_tasks_of_a_job_that_says_so_share_a_sandbox():
    plan_ = plan(a_snapshot(many(1000), [a_worker(cpus=2)], [QueueView("default")]), NOW, budget=2000)
    assert batches(plan_.starts) == [64, 64]
    head, second = plan_.starts[0], plan_.starts[1]
    assert (head.head, head.resources) == (None, amounts(1))
    assert (second.head, second.resources, second.key.number) == (head.key, Resources(), 2)
    assert not plan_.more
    assert plan_.verdicts


def test_batches_become_smaller_towards_the_end_so_that_all_places_end_together():
    left, sizes = many(200), []
    while left:
        plan_ = plan(a_snapshot(left, [a_worker(cpus=2, allocated=amounts(1))], [QueueView("default")]), NOW)
        sizes += batches(plan_.starts)
        started = {start.task for start in plan_.starts}
        left = [task for task in left if task.key not in started]
    assert sizes[:4] == [50, 38, 28, 21]
    assert sizes[-3:] == [1, 1, 1]


def test_what_was_tried_before_comes_in_smaller_batches():
    worker, queues = a_worker(cpus=1), [QueueView("default")]

    def size(attempts):
        tasks = [*many(10, attempts=attempts), *many(1000)[10:]]
        return batches(plan(a_snapshot(tasks, [worker], queues), NOW).starts)

    assert [size(attempts) for attempts in (0, 1, 2, 5, 6, 100)] == [[64], [32], [16], [2], [1], [1]]


def test_a_worker_that_knows_nothing_of_batches_gets_its_tasks_one_by_one():
    old, new = a_worker("old", cpus=2, takes_batches=False), a_worker("new", cpus=2)
    starts = plan(a_snapshot(many(80), [old, new], [QueueView("default")]), NOW).starts
    assert {start.worker_id for start in starts if start.head is not None} == {"new"}
    alone = [start for start in starts if start.worker_id == "old"]
    assert [(start.head, start.resources) for start in alone] == [(None, amounts(1))] * 2
    assert len(starts) > 4


def test_a_batch_is_of_one_job_and_takes_its_share_of_the_budget():
    tasks = [*many(3, job_id=1), *many(400, job_id=2)]
    queues = [QueueView("default")]
    one = a_snapshot(tasks, [a_worker(cpus=4)], queues)
    assert batches(plan(one, NOW).starts) == [1, 1, 1, 50]
    few = plan(a_snapshot(many(400), [a_worker(cpus=4)], queues), NOW, budget=60)
    assert batches(few.starts) == [50, 10]
    assert few.more


def test_a_batch_takes_one_of_the_cap():
    capped = a_snapshot(many(100), [a_worker(cpus=4)], [QueueView("default", running=1, max_concurrent=3)])
    plan_ = plan(capped, NOW)
    assert batches(plan_.starts) == [17, 14]
    assert capped.after(plan_.starts).queues["default"].running == 3


def test_what_waits_elsewhere_counts_as_room_that_will_come():
    workers = [a_worker("a", cpus=2, allocated=amounts(2)), a_worker("b", cpus=2)]
    plan_ = plan(a_snapshot(many(40), workers, [QueueView("default")]), NOW)
    assert batches(plan_.starts) == [5, 5]
