"""What a store remembers of crashes, safe mode and tasks in quarantine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tidegate.core.attempt import Exit
from tidegate.core.identity import Action, Caller, Role
from tidegate.core.job import TaskKey
from tidegate.core.recovery import Cause, Crash, Mode, SafeMode, faulted, ordered
from tidegate.core.states import KEEPER_DIED, AttemptState, ExitReason, JobStatus, TaskState
from tidegate.errors import Conflict, NotFound
from tidegate.ports import AuditFilter
from tidegate.testing.conformance.world import World

DIED = Exit(ExitReason.SIGNAL, "Its keeper died.", code=KEEPER_DIED)


class RecoveryConformance:
    """`RecoveryStore` and `QuarantineStore`."""

    def test_a_run_that_was_not_ended_is_found_by_the_next(self, world: World) -> None:
        store, first = world.store, world.now
        assert store.begin("here", first) is None
        assert store.begin("there", first) is None
        world.clock.advance(5)
        assert store.begin("here", world.now) == first
        store.end("here")
        assert store.begin("here", world.now) is None

    def test_runs_of_places_that_are_gone_are_forgotten(self, world: World) -> None:
        store = world.store
        store.begin("gone", world.now)
        world.clock.advance(5)
        store.begin("here", world.now)
        assert store.prune_runs(world.now) == 1
        assert store.begin("gone", world.now) is None
        assert store.begin("here", world.now) == world.now

    def test_crashes_come_back_in_their_order_and_are_forgotten(self, world: World) -> None:
        store, start = world.store, world.now
        made = [Crash("here", f"part{n}", start + timedelta(seconds=n), f"error {n}") for n in (1, 2, 3)]
        for crash in (made[1], made[0], made[2]):
            store.add_crash(crash)
        assert store.crashes(start) == made
        assert store.crashes(made[0].at) == made[1:]
        assert store.prune_crashes(made[1].at) == 1
        assert store.crashes(start) == made[1:]

    def test_of_two_changes_of_the_mode_one_is_made(self, world: World) -> None:
        store = world.store
        state = store.safe_mode()
        assert state == SafeMode()
        safe = faulted(state, Cause.LEDGER, "It does not add up.", world.now, {"wrong": 2})
        assert store.set_safe_mode(safe)
        assert not store.set_safe_mode(faulted(state, Cause.CRASHES, "late", world.now))
        assert store.safe_mode() == replace(safe, version=1)
        by = Caller("olga", Role.OPERATOR, world.now)
        assert store.set_safe_mode(ordered(store.safe_mode(), "olga", "a test", world.now), by)
        now = store.safe_mode()
        assert (now.mode, now.cause, now.by, now.version) == (Mode.SAFE, Cause.OPERATOR, "olga", 2)
        (entry,) = store.audit(AuditFilter(action=Action.SAFE_MODE))
        assert (entry.actor, entry.object, entry.detail["mode"]) == ("olga", "safe mode", "safe")

    def test_the_death_of_a_keeper_is_a_loss(self, world: World) -> None:
        key = world.run()
        assert world.report(key, TaskState.QUEUED, exit=DIED) is not None
        (again,) = world.claim()
        assert (again.key.attempt, again.losses) == (2, 1)

    def test_a_quarantined_task_runs_again_as_a_job_of_its_own_once_it_is_released(
        self, world: World
    ) -> None:
        store = world.store
        key = world.run(owner="ann", spec={"words": "x"})
        world.report(key, TaskState.FAILED, state=AttemptState.FAILED, exit=DIED, quarantined=True)
        assert store.job(key.job_id).status is JobStatus.FAILED
        (held,) = store.quarantined()
        assert (held.key, held.at, held.owner, held.released_as) == (key.task, world.now, "ann", None)
        assert store.quarantined_task(key.task) == held
        assert store.quarantined(before=key.task) == []
        world.clock.advance(1)
        by = Caller("olga", Role.OPERATOR, world.now)
        again = store.release_task(key.task, world.now, by)
        job, old = store.job(again), store.job(key.job_id)
        assert (job.owner, job.kind, job.spec, job.shape) == (old.owner, old.kind, old.spec, old.shape)
        released = store.quarantined_task(key.task)
        assert (released.released_at, released.released_by, released.released_as) == (
            world.now,
            "olga",
            again,
        )
        with pytest.raises(Conflict, match=f"job {again} runs it again"):
            store.release_task(key.task, world.now, by)
        (entry,) = store.audit(AuditFilter(action=Action.RELEASE_TASK))
        assert (entry.object, entry.detail["job_id"]) == (f"task {key.task}", again)
        world.claim()
        store.check()

    def test_who_cancels_first_leaves_nothing_in_quarantine(self, world: World) -> None:
        key = world.run()
        world.store.request_cancel(key.job_id, world.now)
        world.report(key, TaskState.FAILED, exit=DIED, quarantined=True)
        assert world.store.quarantined() == []

    def test_what_is_not_in_quarantine_cannot_be_released(self, world: World) -> None:
        key = world.run()
        for unknown in (key.task, TaskKey(10**6, 1)):
            with pytest.raises(NotFound, match="quarantine"):
                world.store.release_task(unknown, world.now)
            with pytest.raises(NotFound, match="quarantine"):
                world.store.quarantined_task(unknown)
