"""A worker of a cluster that keeps crashing: it alone takes no starts, until it is well again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tidegate.core.recovery import HEALTH_S, MOST_CRASHES, STEP_S, Mode, SafeMode
from tidegate.ports import Draining
from tidegate.server.resting import OneWorker
from tidegate.server.supervisor import Supervisor
from tidegate.testing.conformance.world import World
from tidegate.testing.fakes import RecordingBell
from tidegate.testing.memory_store import MemoryStore


class Machine:
    """A registered worker, and the supervisor of its process, which looks when it is told to."""

    def __init__(self) -> None:
        self.world = World(MemoryStore())
        self.world.register()
        self.bell = RecordingBell()
        self.begin()

    def begin(self) -> None:
        """A process of it begins."""
        self.own = OneWorker(self.world.store, "local", self.world.clock, self.bell)
        self.supervisor = Supervisor(
            self.own, self.bell, self.world.clock, self.own.place, chance=lambda: 0.0
        )

    def crash(self, times: int, part: str = "zygote") -> None:
        for _ in range(times):
            self.world.clock.advance(1)
            self.supervisor.crashed(part, "It ended.")
        self.supervisor.look()

    def pass_time(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.supervisor.look()

    def mode(self) -> Mode:
        return self.supervisor.state.mode

    def draining(self) -> Draining:
        (record,) = self.world.store.workers()
        return record.draining


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_its_crashes_are_in_the_history_of_all_and_its_safe_mode_is_its_own(machine: Machine):
    machine.crash(MOST_CRASHES)
    assert machine.draining() is Draining.NO
    machine.crash(1)
    assert (machine.mode(), machine.draining()) == (Mode.SAFE, Draining.LEAVING)
    found = machine.world.store.crashes(machine.world.now - timedelta(minutes=1))
    assert [(crash.place, crash.part) for crash in found] == [("worker local", "zygote")] * (MOST_CRASHES + 1)
    assert machine.world.store.safe_mode() == SafeMode()
    assert "schedule" in machine.bell.rings


def test_it_takes_starts_again_after_five_minutes_without_a_crash_and_rests_again_at_the_next(
    machine: Machine,
):
    machine.crash(MOST_CRASHES + 1)
    machine.pass_time(HEALTH_S - 1)
    assert machine.draining() is Draining.LEAVING
    machine.pass_time(2)
    assert (machine.mode(), machine.draining()) == (Mode.RAMP, Draining.NO)
    machine.crash(1, "worker")
    assert machine.draining() is Draining.LEAVING
    machine.pass_time(HEALTH_S + 1)
    machine.pass_time(3 * STEP_S + 1)
    assert (machine.mode(), machine.draining()) == (Mode.NORMAL, Draining.NO)


def test_an_operator_has_the_last_word(machine: Machine):
    machine.crash(MOST_CRASHES + 1)
    machine.world.store.drain("local", Draining.NO)
    machine.pass_time(1)
    assert (machine.mode(), machine.draining()) == (Mode.NORMAL, Draining.NO)
    machine.pass_time(1)
    assert machine.mode() is Mode.NORMAL  # crashes that were before do not count again
    machine.world.store.drain("local", Draining.ORDERED)
    machine.crash(MOST_CRASHES + 1)
    machine.pass_time(HEALTH_S + 1)
    assert (machine.mode(), machine.draining()) == (Mode.RAMP, Draining.ORDERED)


def test_neither_a_new_registration_nor_a_new_process_takes_it_out(machine: Machine):
    machine.crash(MOST_CRASHES + 1)
    machine.world.register()
    machine.pass_time(1)
    assert machine.draining() is Draining.LEAVING
    machine.begin()
    machine.world.register()
    assert machine.draining() is Draining.NO
    machine.supervisor.start()
    machine.supervisor.abandon()
    assert (machine.mode(), machine.draining()) == (Mode.SAFE, Draining.LEAVING)


def test_before_its_first_registration_there_is_nothing_to_drain(machine: Machine):
    machine.world.store.unregister("local", machine.world.generation, machine.world.now)
    machine.own = OneWorker(machine.world.store, "new", machine.world.clock, machine.bell)
    machine.supervisor = Supervisor(
        machine.own, machine.bell, machine.world.clock, machine.own.place, chance=lambda: 0.0
    )
    machine.crash(MOST_CRASHES + 1)
    machine.pass_time(1)
    assert machine.mode() is Mode.SAFE
