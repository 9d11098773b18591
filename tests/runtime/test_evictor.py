"""One end at a time, and time for it to show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from tidegate.core.criticality import Criticality
from tidegate.core.job import AttemptKey
from tidegate.core.pressure import Level
from tidegate.core.resources import GIB
from tidegate.core.victim import Candidate
from tidegate.runtime.evictor import Eviction, Evictor
from tidegate.runtime.pressure import PressureMeter
from tidegate.testing.fakes import FakeClock
from tidegate.testing.sensors import FakeSensor


class Machine:
    """A worker that loses what is ended, and a sensor that says what it is told."""

    def __init__(self) -> None:
        self.clock, self.sensor = FakeClock(), FakeSensor()
        self.running = {
            AttemptKey(number, 1, 1): Candidate(
                AttemptKey(number, 1, 1),
                Criticality.CRITICAL,
                number != 3,
                number * GIB,
                4 * GIB,
                datetime(2026, 1, 1, tzinfo=UTC),
            )
            for number in (1, 2, 3)
        }
        self.told: list[Eviction] = []
        self.meter = PressureMeter([self.sensor], self.clock)
        self.evictor = Evictor(self.meter.machine, self, self.clock, self.told.append)
        self.meter.after_each_look(lambda: self.evictor.look() and None)

    def candidates(self) -> Iterable[Candidate]:
        return self.running.values()

    def evict(self, eviction: Eviction) -> None:
        del self.running[eviction.key]

    def pass_s(self, seconds: float, memory_percent: float) -> list[int]:
        """The jobs that were ended meanwhile."""
        before = len(self.told)
        self.sensor.set(memory_used_percent=memory_percent)
        for _ in range(int(seconds * 4)):
            self.meter.look()
            self.clock.advance(0.25)
        return [eviction.key.job_id for eviction in self.told[before:]]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_in_an_emergency_one_is_ended_and_told_with_its_numbers(machine: Machine) -> None:
    assert machine.pass_s(14, 96.4) == [2]
    (eviction,) = machine.told
    assert (eviction.limit, eviction.observed) == (4 * GIB, 2 * GIB)
    assert eviction.message == (
        "The machine was in an emergency (memory used 96.4 %) and the service ended the job to save it: of what runs here it "
        "was critical, within its request, with 2 GiB used of 4 GiB. It will be tried again."
    )


def test_the_next_is_ended_after_fifteen_seconds_only(machine: Machine) -> None:
    assert machine.pass_s(14.5, 97) == [2]
    assert machine.pass_s(1, 97) == [1]
    assert machine.pass_s(15, 97) == [3]
    assert "lost as often as is allowed" in machine.told[-1].message
    assert machine.pass_s(60, 97) == []


def test_nobody_is_ended_below_an_emergency(machine: Machine) -> None:
    assert machine.pass_s(120, 94) == []
    assert machine.meter.machine.level() is Level.CRITICAL


def test_when_the_pressure_has_fallen_a_new_emergency_is_one_at_once(machine: Machine) -> None:
    assert machine.pass_s(2, 97) == [2]
    assert machine.pass_s(45, 50) == []  # though the level lasts for 30 s of them
    assert machine.pass_s(1, 97) == [1]


def test_nobody_is_ended_because_a_database_does_not_answer(machine: Machine) -> None:
    machine.sensor.set(database_silent_s=60)
    for _ in range(100):
        machine.meter.look()
        machine.clock.advance(0.25)
    assert (machine.meter.service.level(), machine.told) == (Level.EMERGENCY, [])
