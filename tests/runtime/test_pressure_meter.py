"""The gauge of a process: what it tells, whom it tells."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta

import pytest

from tidegate.core.overload import RULES, Allowed
from tidegate.core.pressure import Change, Level
from tidegate.core.pressure_rules import PressureRules, rules_from_json
from tidegate.core.readings import Readings
from tidegate.runtime.pressure import PressureMeter
from tidegate.testing.fakes import FakeClock
from tidegate.testing.sensors import FakeSensor


class Desk:
    def __init__(self, *, of_machine: bool = False, watch_only: bool = False) -> None:
        self.clock, self.sensor = FakeClock(), FakeSensor()
        self.changes: list[Change] = []
        self.meter = PressureMeter([self.sensor], self.clock, watch_only=watch_only)
        self.dial = self.meter.machine if of_machine else self.meter.service
        self.dial.when_changed(self.changes.append)

    def look(self, seconds: int = 1, **values: float) -> None:
        self.sensor.set(**values)
        for _ in range(seconds):
            self.meter.look()
            self.clock.advance(1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_before_the_first_look_nothing_is_felt(desk: Desk) -> None:
    assert (desk.dial.level(), desk.dial.allowed(), desk.dial.readings()) == (
        Level.NORMAL,
        Allowed(),
        Readings(),
    )
    assert desk.dial.minute(desk.clock.now()) is None


def test_a_change_is_told_once_with_its_numbers_and_what_it_allows(desk: Desk) -> None:
    desk.look(1, memory_used_percent=40)
    desk.look(3, memory_used_percent=96)
    (change,) = desk.changes
    assert (change.after, change.because) == (Level.EMERGENCY, {"memory": {"memory_used_percent": 96}})
    assert (desk.dial.level(), desk.dial.allowed()) == (Level.EMERGENCY, RULES[Level.EMERGENCY])
    assert desk.dial.changed_at() == desk.clock.now() - timedelta(seconds=3)


def test_the_change_is_logged_with_its_numbers(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.look(1, io_stall_percent=45)
    record, _ = caplog.records  # and the same of the service
    assert record.getMessage() == (
        "The pressure on the machine is critical, it was normal: io_stall io_stall_percent=45."
    )


def test_a_worker_is_judged_by_the_machine_alone() -> None:
    desk = Desk(of_machine=True)
    desk.look(1, loop_lag_s=2, thread_wait_s=1)
    assert desk.dial.level() is Level.NORMAL


def test_who_only_watches_sees_levels_that_allow_everything() -> None:
    desk = Desk(watch_only=True)
    desk.look(1, memory_used_percent=99)
    assert (desk.dial.level(), desk.dial.allowed()) == (Level.EMERGENCY, Allowed())


def test_a_look_under_way_does_not_undo_new_rules(desk: Desk) -> None:
    def look_often() -> None:
        for second in range(3000):
            desk.dial.judge(Readings(), desk.clock.now(), float(second))

    looking, undone = threading.Thread(target=look_often), 0
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns at every step
    try:
        looking.start()
        while looking.is_alive():
            desk.meter.use(rules := PressureRules())
            undone += any(desk.dial.rules() is not rules for _ in range(50))
        looking.join()
    finally:
        sys.setswitchinterval(usual_s)
    assert undone == 0


def test_new_rules_hold_from_the_next_look_on(desk: Desk) -> None:
    desk.meter.use(
        rules_from_json(
            {
                "signals": {"disk": {"warn": [{"thresholds": {"disk_free_percent": {"bound": 50}}}]}},
                "levels": {"warn": {"exports": False}},
            }
        )
    )
    desk.look(1, disk_free_percent=45)
    assert desk.dial.level() is Level.WARN
    assert not desk.dial.allowed().exports


def test_a_minute_is_told_at_its_begin_with_its_worst(desk: Desk) -> None:
    desk.look(70, memory_used_percent=99)
    desk.look(65, memory_used_percent=30)
    minute = desk.dial.minute(desk.clock.now())
    assert minute is not None
    assert minute.at == desk.clock.now().replace(second=0)
    assert (minute.readings.memory_used_percent, minute.level) == (30, Level.EMERGENCY)
    assert len(desk.dial.history(desk.clock.now() - timedelta(seconds=10))) == 10


def test_a_listener_that_fails_keeps_nobody_from_hearing(desk: Desk) -> None:
    heard: list[Change] = []

    def fails(_: Change) -> None:
        raise RuntimeError

    desk.dial.when_changed(fails)
    desk.dial.when_changed(heard.append)
    desk.look(1, memory_used_percent=99)
    assert len(heard) == 1


def test_its_thread_looks_by_itself_until_it_is_closed() -> None:
    desk, changed = Desk(), threading.Event()
    desk.sensor.set(memory_used_percent=97)
    desk.dial.when_changed(lambda _: changed.set())
    desk.meter.start()
    assert changed.wait(30)
    desk.meter.close()
