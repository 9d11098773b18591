"""What every store does with batches: attempts that share one sandbox and so one allocation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from tidegate.core.attempt import AttemptEnd
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Plan
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, JobStatus, TaskState
from tidegate.ports import TAKES_BATCHES, Store
from tidegate.testing.conformance.world import LEASE_S, SMALL, World, new_tasks

NOTHING = Resources()
ORDERS = list(permutations(range(3)))


def batched(plan: Plan) -> Plan:
    """The same starts, all but the first in the sandbox of the first."""
    head = plan.starts[0]
    others = [start._replace(resources=NOTHING, head=head.key) for start in plan.starts[1:]]
    return Plan((head, *others))


class BatchStoreConformance:
    """One allocation, live exactly while one of its attempts is, and released once."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def begin(self, world: World, count: int = 3, **changes: object) -> list[AttemptKey]:
        """A job whose tasks were planned as one batch; not claimed yet."""
        world.submit(tasks=new_tasks(count), batch=count, **changes)
        return [start.key for start in world.commit(batched(world.plan()))]

    def run(self, world: World, count: int = 3, **changes: object) -> list[AttemptKey]:
        keys = self.begin(world, count, **changes)
        assert [each.key for each in world.claim(keys)] == keys
        return keys

    def test_the_scheduler_hears_how_many_may_share_a_sandbox(self, world: World) -> None:
        world.submit(tasks=new_tasks(2), batch=20)
        world.submit()
        assert [task.batch for task in world.waiting()] == [20, 20, 1]

    def test_the_scheduler_hears_which_workers_take_batches(self, world: World) -> None:
        def told() -> list[bool]:
            return [view.takes_batches for view in world.store.changes(0).workers]

        new = replace(world.worker, versions={**world.worker.versions, **TAKES_BATCHES})
        for worker in (new, world.worker, new):  # it may be put back to an earlier version
            world.store.register(worker, world.now, LEASE_S)
            assert told() == [worker is new]

    def test_a_batch_takes_room_once_and_each_has_its_attempt(self, world: World) -> None:
        keys = self.begin(world)
        assert world.allocated() == SMALL
        job = world.store.job(keys[0].job_id)
        assert (job.status, job.task_counts[TaskState.RUNNING]) == (JobStatus.RUNNING, 3)
        assert [view.running for view in world.store.queues()] == [1]
        held = {each.key: each.resources for each in world.store.held()}
        assert held == {keys[0]: SMALL, keys[1]: NOTHING, keys[2]: NOTHING}
        tries = [task.attempts[0] for task in world.store.tasks(keys[0].job_id)]
        assert [(each.resources, each.head) for each in tries] == [
            (SMALL, None),
            (SMALL, keys[0]),
            (SMALL, keys[0]),
        ]
        told = [event.message for event in world.store.events(keys[0].job_id) if event.type == "started"]
        assert [f"in the sandbox of task {keys[0].task}" in message for message in told] == [
            False,
            True,
            True,
        ]
        world.store.check()

    def test_a_claim_tells_whose_sandbox_and_what_it_may_use(self, world: World) -> None:
        first, second = world.claim(self.begin(world, 2))
        assert (first.head, second.head) == (None, first.key)
        assert (first.sandbox, second.sandbox) == (first.key, first.key)
        assert (first.resources, second.resources) == (SMALL, SMALL)
        assert [each.spec["file"] for each in (first, second)] == [1, 2]
        world.store.check()

    def test_a_commit_that_claims_tells_the_same(self, world: World) -> None:
        world.submit(tasks=new_tasks(2), batch=2)
        first, second = (start.assignment for start in world.commit(batched(world.plan()), claim=True))
        assert first is not None
        assert second is not None
        assert (first.head, second.head, second.resources) == (None, first.key, SMALL)
        assert world.beat([first.key, second.key]) == ([], [], [])
        world.store.check()

    @pytest.mark.parametrize("order", ORDERS)
    def test_the_last_end_releases_whatever_their_order(
        self, world: World, order: tuple[int, int, int]
    ) -> None:
        keys = self.run(world)
        for place, index in enumerate(order):
            assert world.allocated() == SMALL
            recorded = world.report(keys[index])
            assert recorded is not None
            released = (keys[index],) if recorded.released is None else recorded.released
            assert set(released) == {keys[index]} - {keys[0]} | ({keys[0]} if place == 2 else set())
            world.store.check()
        assert world.allocated() == NOTHING
        assert world.store.held() == []
        assert world.store.job(keys[0].job_id).status is JobStatus.SUCCEEDED
        assert world.store.report([world.end(key) for key in keys]) == []
        assert world.allocated() == NOTHING
        world.store.check()

    @pytest.mark.parametrize("order", ORDERS)
    def test_ends_of_one_report_release_once(self, world: World, order: tuple[int, int, int]) -> None:
        keys = self.run(world)
        recorded = world.store.report([world.end(keys[index]) for index in order])
        assert [key for end in recorded for key in end.released or ()].count(keys[0]) == 1
        assert world.allocated() == NOTHING
        world.store.check()

    def test_each_keeps_its_own_result_and_reason(self, world: World) -> None:
        keys = self.run(world, max_attempts=2)
        world.report(keys[0], result={"verdict": "linted"})
        world.report(keys[1], TaskState.FAILED)
        back = world.end(keys[2], TaskState.QUEUED, state=AttemptState.LOST, put_back=True)
        world.store.report([back])
        tasks = world.store.tasks(keys[0].job_id)
        assert [task.state for task in tasks] == [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.QUEUED]
        assert (tasks[0].result, tasks[1].exit) == (
            {"verdict": "linted"},
            world.end(keys[1], TaskState.FAILED).exit,
        )
        (again,) = world.claim()
        assert (again.key, again.losses, again.put_back) == (AttemptKey(*keys[2].task, 2), 0, 1)
        assert again.head is None
        world.store.check()

    def test_the_heads_task_may_run_again_while_its_batch_goes_on(self, world: World) -> None:
        keys = self.run(world, 2, max_attempts=2)
        world.report(keys[0], TaskState.QUEUED)
        assert world.allocated() == SMALL
        (again,) = world.claim()
        assert again.key == AttemptKey(*keys[0].task, 2)
        assert world.allocated() == SMALL + SMALL
        world.store.check()
        world.report(keys[1])
        assert world.allocated() == SMALL
        world.store.check()
        world.report(again.key)
        assert world.allocated() == NOTHING
        world.store.check()

    def test_an_end_of_one_that_is_not_the_newest_changes_nothing_for_the_others(self, world: World) -> None:
        keys = self.run(world, 2, max_attempts=2)
        assert world.report(keys[1]._replace(attempt=2)) is None
        assert world.report(keys[1], worker_id="other") is None
        assert world.allocated() == SMALL
        world.store.check()

    def test_without_its_head_none_starts(self, world: World) -> None:
        world.submit(tasks=new_tasks(3), batch=3)
        head, *others = batched(world.plan()).starts
        assert world.commit(Plan(tuple(others))) == []
        late = head._replace(key=head.key._replace(attempt=2))
        assert world.commit(Plan((late, *others))) == []
        (alone,) = world.commit(Plan((others[0]._replace(head=None, resources=SMALL), others[1])))
        assert alone.key == others[0].key
        world.store.check()

    def test_one_that_asks_for_more_of_its_own_does_not_start(self, world: World) -> None:
        world.submit(tasks=new_tasks(2), batch=2)
        head, other = batched(world.plan()).starts
        assert world.commit(Plan((head, other._replace(resources=SMALL)))) == [head]
        world.store.check()

    def test_a_batch_takes_one_of_the_cap_until_its_last_end(self, world: World) -> None:
        world.store.set_queue("default", max_concurrent=1)
        keys = self.run(world)
        world.submit()
        for key in keys:
            assert world.commit(world.plan()) == []
            world.report(key)
            world.store.check()
        assert len(world.commit(world.plan())) == 1
        world.store.check()

    def test_a_batch_is_claimed_whole_or_not_at_all(self, world: World) -> None:
        keys = self.begin(world)
        assert world.claim(keys[:2]) == []
        assert world.claim(keys[1:]) == []
        assert len(world.claim(keys)) == 3
        assert world.claim(keys) == []
        world.store.check()

    def test_what_nobody_claimed_is_found_with_its_head(self, world: World) -> None:
        keys = self.begin(world)
        found = world.store.unclaimed(world.now + timedelta(seconds=1))
        assert [(start.key, start.head) for start in found] == [
            (keys[0], None), (keys[1], keys[0]), (keys[2], keys[0]),
        ]  # fmt: skip
        assert [start.resources for start in found] == [SMALL, NOTHING, NOTHING]

    def test_a_cancel_before_the_claim_ends_all_of_it(self, world: World) -> None:
        keys = self.begin(world)
        cancelled = world.store.request_cancel(keys[0].job_id, world.now)
        assert cancelled.live_attempts == tuple(keys)
        assert world.claim(keys) == []
        assert world.store.job(keys[0].job_id).status is JobStatus.CANCELLED
        assert world.allocated() == NOTHING
        world.store.check()

    def test_a_cancel_wins_over_what_had_not_begun(self, world: World) -> None:
        keys = self.run(world)
        world.report(keys[0])
        cancelled = world.store.request_cancel(keys[0].job_id, world.now)
        assert cancelled.live_attempts == tuple(keys[1:])
        assert world.cancels() == keys[1:]
        back = [
            world.end(keys[1], TaskState.CANCELLED),
            world.end(keys[2], TaskState.QUEUED, state=AttemptState.LOST, put_back=True),
        ]
        assert [end.next_state for end in world.store.report(back)] == [TaskState.CANCELLED] * 2
        job = world.store.job(keys[0].job_id)
        assert (job.status, job.task_counts[TaskState.SUCCEEDED]) == (JobStatus.CANCELLED, 1)
        assert world.waiting() == []
        assert world.allocated() == NOTHING
        world.store.check()

    def test_processes_that_are_left_keep_the_heads_room(self, world: World) -> None:
        keys = self.run(world)
        world.report(keys[0])
        world.report(keys[1], TaskState.FAILED, release=False)
        back = world.end(keys[2], TaskState.QUEUED, state=AttemptState.LOST, put_back=True, release=False)
        world.store.report([back])
        assert world.allocated() == SMALL
        assert [each.key for each in world.store.held()] == [keys[0]]
        world.store.check()
        assert world.store.release([keys[0]], world.now) == 1
        assert world.allocated() == NOTHING
        world.store.check()

    def test_a_worker_that_came_back_has_nothing_of_it_left(self, world: World) -> None:
        keys = self.run(world, 2)
        world.store.report([world.end(key, TaskState.FAILED, release=False) for key in keys])
        assert world.store.release_kept("local", world.now) == 1
        assert world.allocated() == NOTHING
        world.store.check()

    def test_a_lost_worker_loses_what_had_not_ended_and_no_more(self, world: World) -> None:
        keys = self.run(world, max_attempts=1)
        world.report(keys[0], result={"verdict": "linted"})
        before = world.generation
        world.register()
        lost = world.store.lost()
        assert [attempt.key for attempt in lost] == keys[1:]
        ends = [self.lost(world, key, before) for key in keys[1:]]
        assert [end.key for end in world.store.end_lost(ends, world.epoch)] == keys[1:]
        assert world.store.end_lost(ends, world.epoch) == []
        assert world.allocated() == NOTHING
        world.store.check()
        again = world.commit(batched(world.plan()))
        assert [start.key for start in again] == [AttemptKey(*key.task, 2) for key in keys[1:]]
        assert [each.losses for each in world.claim([start.key for start in again])] == [1, 1]
        assert world.store.tasks(keys[0].job_id)[0].result == {"verdict": "linted"}
        world.store.check()

    def test_what_is_lost_one_by_one_is_released_with_the_last(self, world: World) -> None:
        keys = self.run(world)
        before = world.generation
        world.register()
        for key in keys:
            assert world.allocated() == SMALL
            world.store.end_lost([self.lost(world, key, before)], world.epoch)
            world.store.check()
        assert world.allocated() == NOTHING

    def lost(self, world: World, key: AttemptKey, generation: int) -> AttemptEnd:
        end = world.end(key, TaskState.QUEUED, state=AttemptState.LOST)
        return replace(end, generation=generation)

    def test_two_batches_and_one_alone_do_not_touch_each_other(self, world: World) -> None:
        first, second = self.run(world, 2), self.run(world, 2)
        alone = world.run()
        assert world.allocated() == SMALL + SMALL + SMALL
        world.store.report([world.end(first[0]), world.end(second[1]), world.end(alone)])
        assert world.allocated() == SMALL + SMALL
        world.store.check()
        world.store.report([world.end(second[0]), world.end(first[1])])
        assert world.allocated() == NOTHING
        world.store.check()

    def test_a_batch_of_another_job_is_none(self, world: World) -> None:
        world.submit()
        world.submit()
        first, second = world.plan().starts
        other = second._replace(head=first.key, resources=NOTHING)
        assert world.commit(Plan((first, other))) == [first]
        world.store.check()

    def test_what_a_batch_held_is_archived_with_its_job(self, world: World) -> None:
        keys = self.run(world)
        world.store.report([world.end(key) for key in keys])
        world.clock.advance(10)
        assert world.store.prune(world.now) == 1
        world.store.check()
