"""What every `ReadingStore` does, and what becomes of what workers tell with their beats."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tidegate.core.identity import Action, Role
from tidegate.core.pressure import Level
from tidegate.core.readings import Readings, Sample
from tidegate.ports import AuditFilter, Store, WorkerPressure
from tidegate.testing.conformance.store_identity import new_caller
from tidegate.testing.conformance.world import World

MINUTE = timedelta(minutes=1)
FULL = Readings(memory_used_percent=96.25, memory_free_bytes=2.0**40, loop_lag_s=0.0)


class ReadingStoreConformance:
    """Samples, rules, and the pressure of workers."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_samples_are_kept_exactly_and_told_in_order(self, world: World) -> None:
        first = Sample(world.now, FULL, Level.EMERGENCY)  # as whoever feels it says it
        second = Sample(world.now + MINUTE, Readings(), 0)
        world.store.add_sample("worker:b", second)
        world.store.add_sample("worker:b", first)
        world.store.add_sample("server:a", second)
        everything = world.store.samples(None, world.now, world.now + 2 * MINUTE)
        assert list(everything) == [("worker:b", first), ("server:a", second), ("worker:b", second)]
        assert list(world.store.samples("worker:b", world.now, world.now + MINUTE)) == [("worker:b", first)]
        assert list(world.store.samples("worker:c", world.now, world.now + MINUTE)) == []

    def test_a_sample_of_the_same_instant_is_replaced(self, world: World) -> None:
        for sample in (
            Sample(world.now, FULL, 3),
            Sample(world.now, Readings(), 1),
            Sample(world.now, Readings(), 1),
        ):
            world.store.add_sample("worker:a", sample)
        assert list(world.store.samples(None, world.now, world.now + MINUTE)) == [
            ("worker:a", Sample(world.now, Readings(), 1))
        ]

    def test_old_samples_are_forgotten(self, world: World) -> None:
        for minute in range(3):
            world.store.add_sample("worker:a", Sample(world.now + minute * MINUTE, FULL))
        assert world.store.prune_samples(world.now + 2 * MINUTE) == 2
        assert world.store.prune_samples(world.now + 2 * MINUTE) == 0
        assert len(world.store.samples(None, world.now, world.now + 9 * MINUTE)) == 1

    def test_what_an_operator_changes_of_the_rules_is_kept_and_noted(self, world: World) -> None:
        assert world.store.pressure_rules() is None
        changes = {"levels": {"warn": {"most_page": 20, "start": None}}}
        by = new_caller(world.now, owner="olga", role=Role.OPERATOR)
        world.store.set_pressure_rules({"signals": {}}, world.now)
        told = world.store.set_pressure_rules(changes, world.now + MINUTE, by)
        assert told == world.store.pressure_rules()
        assert told == (changes, world.now + MINUTE, "olga")
        (row,) = world.store.audit(AuditFilter(action=Action.CHANGE_PRESSURE_RULES))
        assert (row.actor, row.object) == ("olga", "pressure rules")

    def test_a_beat_tells_what_a_worker_feels(self, world: World) -> None:
        generation = world.register()
        minute = Sample(world.now, FULL, 3)
        felt = WorkerPressure(Level.CRITICAL, world.now, FULL, minute)
        worker = replace(world.worker, pressure=felt)
        for _ in range(2):
            assert world.store.beat(worker, generation, world.now, 60, ()) is not None
        (record,) = world.store.workers()
        assert (record.level, record.level_since, record.readings) == (Level.CRITICAL, world.now, FULL)
        assert world.store.changes(0).workers[0].level is Level.CRITICAL
        kept = world.store.samples(f"worker:{worker.id}", world.now, world.now + MINUTE)
        assert list(kept) == [(f"worker:{worker.id}", minute)]

    def test_a_worker_that_has_told_nothing_feels_no_pressure(self, world: World) -> None:
        world.register()
        (record,) = world.store.workers()
        assert (record.level, record.level_since, record.readings) == (Level.NORMAL, None, Readings())
