"""Who is refused under pressure, and what he is told."""

from __future__ import annotations

import pytest

from tidegate.core.criticality import Criticality
from tidegate.errors import Busy
from tidegate.runtime.pressure import PressureMeter
from tidegate.server.pressure import NoPressure, Shed
from tidegate.testing.fakes import FakeClock
from tidegate.testing.sensors import FakeSensor

SHEDDABLE, _, CRITICAL, CRITICAL_PLUS, CONTROL = Criticality


class Desk:
    def __init__(self, chance: float = 0.0) -> None:
        self.clock, self.sensor, self.chance = FakeClock(), FakeSensor(), chance
        self.meter = PressureMeter([self.sensor], self.clock)
        self.shed = Shed(self.meter.service, lambda: 12.5, lambda: self.chance)

    def feel(self, memory_percent: float) -> None:
        self.sensor.set(memory_used_percent=memory_percent)
        for _ in range(12):
            self.meter.look()
            self.clock.advance(1)

    def refused(self) -> set[Criticality]:
        return {work for work in Criticality if self.shed.refusal(work) is not None}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_without_pressure_nobody_is_refused(desk: Desk) -> None:
    desk.feel(50)
    assert desk.refused() == set()
    assert all(Shed(NoPressure(), lambda: 1.0).refusal(work) is None for work in Criticality)


def test_at_warn_chance_decides_by_the_share(desk: Desk) -> None:
    desk.feel(83)
    desk.chance = 0.29
    assert desk.refused() == {SHEDDABLE}
    desk.chance = 0.31
    assert desk.refused() == set()


def test_in_an_emergency_critical_plus_and_control_alone_go_on(desk: Desk) -> None:
    desk.feel(99)
    assert set(Criticality) - desk.refused() == {CRITICAL_PLUS, CONTROL}


def test_a_refusal_names_level_class_share_and_when_to_come_back(desk: Desk) -> None:
    desk.feel(83)
    refusal = desk.shed.refusal(SHEDDABLE)
    assert isinstance(refusal, Busy)
    assert (refusal.code, refusal.retry_after_s) == ("pressure", 12.5)
    assert refusal.message == (
        "The server is under pressure (warn), and this job is sheddable: 30 % of it is refused until that is over. Try again "
        "in 12.5 s, or raise its `priority`."
    )
    assert refusal.numbers == {
        "level": "warn",
        "criticality": "sheddable",
        "refused_share": 0.3,
        "retry_after_s": 12.5,
    }
    desk.feel(92)
    refused = desk.shed.refusal(SHEDDABLE)
    assert refused is not None
    assert "all of it is refused" in refused.message
