"""From levels and time to what the plan is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.criticality import Criticality
from tidegate.core.job import AttemptKey
from tidegate.core.plan import QueueView, Start, WorkerView
from tidegate.core.pressure import Level
from tidegate.core.pressure_rules import PressureRules, rules_from_json
from tidegate.core.readings import Readings
from tidegate.runtime.pressure import PressureMeter
from tidegate.server.holding import Holding
from tidegate.testing.fakes import FakeClock
from tidegate.testing.scenario import a_worker, amounts
from tidegate.testing.sensors import FakeSensor

FELT = {"local": Readings(memory_used_percent=83.0, io_stall_percent=2.0, disk_free_percent=60.0)}


class Desk:
    def __init__(self, *, watch_only: bool = False, rules: PressureRules | None = None) -> None:
        self.clock, self.sensor = FakeClock(), FakeSensor()
        self.meter = PressureMeter([self.sensor], self.clock, rules, watch_only=watch_only)
        self.asked = 0
        self.holding = Holding(
            self.meter.service, self.meter.service.rules, self.clock, self._felt, watch_only=watch_only
        )

    def _felt(self) -> dict[str, Readings]:
        self.asked += 1
        return FELT

    def worker(self, level: Level) -> WorkerView:
        (worker,) = self.holding.workers([replace(a_worker("local"), level=level)])
        return worker

    def left(self) -> int | None:
        hold = self.worker(Level.WARN).hold
        assert hold is not None
        return hold.starts_left

    def start(self, count: int = 1) -> None:
        self.holding.started(
            [Start(AttemptKey(n, 1, 1), "q", "local", 1, amounts(1, 1)) for n in range(count)]
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_without_pressure_nothing_is_held_and_nobody_is_asked(desk: Desk) -> None:
    assert (desk.worker(Level.NORMAL).hold, desk.asked) == (None, 0)


def test_a_hold_says_what_the_rules_say_and_which_readings_keep_the_level(desk: Desk) -> None:
    hold = desk.worker(Level.CRITICAL).hold
    assert hold is not None
    assert (hold.start, hold.starts_left, hold.starts_per_s) == (Criticality.CRITICAL_PLUS, 1, 1.0)
    assert hold.because == {"memory_used_percent": 83.0}


def test_one_start_a_second(desk: Desk) -> None:
    assert desk.left() == 1
    desk.start()
    assert desk.left() == 0
    desk.clock.advance(0.6)
    assert desk.left() == 0
    desk.clock.advance(0.4)
    assert desk.left() == 1
    desk.clock.advance(60)
    assert desk.left() == 1


def test_starts_beyond_the_pace_are_waited_for(desk: Desk) -> None:
    assert desk.left() == 1
    desk.start(3)
    desk.clock.advance(2)
    assert desk.left() == 0
    desk.clock.advance(1)
    assert desk.left() == 1


def test_an_operator_may_set_another_pace_or_none() -> None:
    fast = Desk(rules=rules_from_json({"levels": {"warn": {"starts_per_s": 5}}}))
    assert fast.left() == 5
    free = Desk(rules=rules_from_json({"levels": {"warn": {"starts_per_s": None}}}))
    assert free.left() is None


def test_caps_are_cut_by_this_servers_own_level(desk: Desk) -> None:
    queues = {"q": QueueView("q", max_concurrent=4)}
    assert desk.holding.queues(queues) is queues
    desk.sensor.set(loop_lag_s=0.05)
    desk.meter.look()
    assert desk.holding.queues(queues)["q"].cap == 2


def test_who_only_watches_holds_nothing() -> None:
    desk = Desk(watch_only=True)
    desk.sensor.set(loop_lag_s=5)
    desk.meter.look()
    queues = {"q": QueueView("q", max_concurrent=4)}
    assert desk.worker(Level.EMERGENCY).hold is None
    assert desk.holding.queues(queues) is queues
