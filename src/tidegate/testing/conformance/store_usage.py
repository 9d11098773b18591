"""What every `UsageStore` does: a job counts once, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tidegate.core.attempt import Usage
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.states import AttemptState, ExitReason, TaskState
from tidegate.core.usage import HOUR, NEVER_STARTED, Tally, UsageBy, UsageRecord, hour_of, wait_bucket
from tidegate.ports import Store, UsageFilter
from tidegate.testing.conformance.store_batches import batched
from tidegate.testing.conformance.world import FAILED, World, new_tasks

SHAPE = Resources(2000, 512 * MIB, GIB)
ONE = Usage(256 * MIB, 300 * MIB, 1.5, 4.0)
"""What an attempt of this shape uses in these tests: 4 s at 256 MiB."""
Step = Callable[[World], object]


def used(
    world: World, by: UsageBy = UsageBy.USER, *, hours: int = 1, owner: str | None = None
) -> list[UsageRecord]:
    """By whom, from the hour of the world's clock on."""
    first = hour_of(world.now)
    return world.store.usage(UsageFilter(by, first, first + hours * HOUR, owner))


def forget(world: World) -> None:
    world.store.prune(world.now + timedelta(days=1))


def add_up(world: World) -> None:
    world.store.count_usage(world.now + timedelta(days=1))


class UsageStoreConformance:
    """Sums by user, queue and kind."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        world = World(store)
        world.clock.advance((hour_of(world.now) + HOUR - world.now).total_seconds())
        return world

    def done(self, world: World, *, wait_s: float = 0.0, **changes: object) -> int:
        """A job that waits so long, runs five seconds, and succeeds."""
        job_id = world.submit(**{"resources": SHAPE, **changes})
        world.clock.advance(wait_s)
        (assignment,) = world.claim()
        world.clock.advance(5)
        world.report(assignment.key, usage=ONE)
        return job_id

    def test_a_job_counts_with_what_it_used_and_what_was_held_for_it(self, world: World) -> None:
        assert used(world) == []
        self.done(world, wait_s=2)
        (record,) = used(world)
        assert record.name == "ann"
        assert record.tally == pytest.approx(
            Tally(1, 1, 0, 0, 1, 1.5, 4.0, allocated_cpu_seconds=10.0, allocated_gib_seconds=2.5,
                  peak_gib_seconds=1.0, wait_seconds=2.0)
        )  # fmt: skip
        assert record.waits == {wait_bucket(2_000_000): 1}
        assert record.wait_mean_s == pytest.approx(2.0)
        assert record.wait_quantile_s(0.95) == pytest.approx(2.0, rel=0.112)

    def test_each_user_queue_and_kind_has_its_own_sums(self, world: World) -> None:
        self.done(world)
        self.done(world, owner="bob", queue="etl")
        self.done(world, owner="bob", kind="lint")
        for by, names in (
            (UsageBy.USER, {"ann": 1, "bob": 2}),
            (UsageBy.QUEUE, {"default": 2, "etl": 1}),
            (UsageBy.KIND, {"lint": 1, "sql": 2}),
        ):
            for step in (None, add_up, forget):
                if step is not None:
                    step(world)
                assert {record.name: record.tally.jobs for record in used(world, by)} == names
                assert [record.name for record in used(world, by)] == list(names)
        assert {r.name: r.tally.jobs for r in used(world, UsageBy.KIND, owner="bob")} == {"lint": 1, "sql": 1}
        assert used(world, owner="eve") == []

    def test_a_job_that_failed_after_a_retry_counts_once_with_both_attempts(self, world: World) -> None:
        key = world.run(max_attempts=2, resources=SHAPE)
        world.clock.advance(5)
        world.report(key, TaskState.QUEUED, usage=ONE)
        assert used(world) == []  # it has not ended
        (again,) = world.claim()
        world.clock.advance(5)
        world.report(again.key, TaskState.FAILED, usage=ONE)
        (record,) = used(world)
        assert record.tally[:5] == (1, 0, 1, 0, 2)
        assert (record.tally.cpu_seconds, record.tally.allocated_cpu_seconds) == pytest.approx((3.0, 20.0))

    def test_what_never_started_waited_for_nothing(self, world: World) -> None:
        world.store.request_cancel(world.submit(), world.now)
        (record,) = used(world)
        assert record.tally == Tally(jobs=1, cancelled=1)
        assert (record.waits, record.started) == ({NEVER_STARTED: 1}, 0)
        assert (record.wait_mean_s, record.wait_quantile_s(0.95)) == (None, None)

    def test_what_a_lost_attempt_used_is_not_known_but_what_it_held_is(self, world: World) -> None:
        key = world.run(resources=SHAPE)
        world.clock.advance(5)
        lost = replace(FAILED, reason=ExitReason.LEASE_EXPIRED)
        world.report(key, TaskState.FAILED, state=AttemptState.LOST, exit=lost, usage=Usage())
        (record,) = used(world)
        assert record.tally == pytest.approx(
            Tally(1, 0, 1, 0, 1, allocated_cpu_seconds=10.0, allocated_gib_seconds=2.5)
        )

    def test_a_batch_holds_its_allocation_once(self, world: World) -> None:
        world.submit(tasks=new_tasks(3), batch=3, resources=SHAPE)
        claimed = world.claim([start.key for start in world.commit(batched(world.plan()))])
        for assignment in claimed:
            world.clock.advance(5)
            world.report(assignment.key, usage=ONE)
        (record,) = used(world)
        assert record.tally.attempts == 3
        assert (record.tally.cpu_seconds, record.tally.allocated_cpu_seconds) == pytest.approx((4.5, 30.0))

    def test_what_is_held_after_the_end_of_a_job_is_not_its_own(self, world: World) -> None:
        key = world.run(resources=SHAPE)
        world.clock.advance(5)
        world.report(key, usage=ONE, release=False)
        for _ in range(2):
            (record,) = used(world)
            assert record.tally.allocated_cpu_seconds == pytest.approx(10.0)
            world.clock.advance(100)
            world.store.release([key], world.now)

    @pytest.mark.parametrize(
        "steps",
        [(add_up,), (forget,), (add_up, forget), (forget, add_up), (add_up, add_up, forget, add_up, forget)],
        ids=lambda steps: "-".join(step.__name__ for step in steps),
    )
    def test_a_job_counts_once_whatever_becomes_of_it(self, world: World, steps: tuple[Step, ...]) -> None:
        for owner in ("ann", "bob"):
            self.done(world, owner=owner, wait_s=3)
        before = used(world)
        assert [record.tally.jobs for record in before] == [1, 1]
        for step in steps:
            step(world)
            assert used(world) == before

    def test_jobs_that_come_after_an_hour_was_added_up_count_too(self, world: World) -> None:
        """A worker that could not reach the database may tell of an end hours later."""
        self.done(world)
        late = world.run(resources=SHAPE)
        add_up(world)
        world.report(late, usage=ONE)
        assert used(world)[0].tally.jobs == 2
        forget(world)
        assert used(world)[0].tally.jobs == 2
        self.done(world)
        add_up(world)
        assert used(world)[0].tally.jobs == 3
        forget(world)
        assert used(world)[0].tally.jobs == 3
        assert used(world)[0].tally.cpu_seconds == pytest.approx(4.5)

    def test_some_of_an_hour_are_forgotten_before_the_others(self, world: World) -> None:
        self.done(world)
        middle = world.now
        self.done(world)
        before = used(world)
        for step in (add_up, lambda each: each.store.prune(middle + timedelta(seconds=1)), add_up, forget):
            step(world)
            assert used(world) == before

    def test_hours_are_added_up_once_and_only_after_their_end(self, world: World) -> None:
        self.done(world)
        hour = hour_of(world.now)
        assert world.store.count_usage(hour + HOUR - timedelta(seconds=1)) == 0
        assert [world.store.count_usage(hour + HOUR) for _ in range(2)] == [1, 0]

    def test_each_hour_has_the_jobs_that_ended_in_it(self, world: World) -> None:
        self.done(world)
        world.clock.advance(3600)
        self.done(world)
        self.done(world)
        first = hour_of(world.now) - HOUR

        def counts(since: datetime, hours: int) -> list[int]:
            found = world.store.usage(UsageFilter(UsageBy.USER, since, since + hours * HOUR))
            return [record.tally.jobs for record in found]

        for step in (None, add_up, forget):
            if step is not None:
                step(world)
            assert [counts(first, 1), counts(first + HOUR, 1), counts(first, 2)] == [[1], [2], [3]]

    def test_old_hours_are_forgotten(self, world: World) -> None:
        self.done(world)
        forget(world)
        assert world.store.prune_usage(hour_of(world.now)) == 0
        assert world.store.prune_usage(hour_of(world.now) + HOUR) == 1
        assert used(world) == []
