"""Parts that crash, hang and come back, and the mode that follows, with a made-up clock and real threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tidegate.core.identity import Caller, Role
from tidegate.core.recovery import HEALTH_S, MOST_CRASHES, STEP_S, Cause, Crash, Mode, worker_place
from tidegate.errors import Conflict, LedgerError, Unavailable
from tidegate.runtime.clock import SystemClock
from tidegate.server.kept import Unsupervised
from tidegate.server.services.audit import EVERY, AuditLedger
from tidegate.server.services.duty import DutyRunner
from tidegate.server.supervisor import Supervisor, kept
from tidegate.testing.fakes import FakeClock, RecordingBell
from tidegate.testing.memory_store import MemoryStore

DEADLINE_S = 20.0


class Office:
    """A store, and supervisors of one place one after the other: they look when they are told to."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.bell = RecordingBell()
        self.clock = FakeClock()
        self.told: dict[str, float] = {}
        self.supervisor = self.new()

    def new(self, place: str = "here") -> Supervisor:
        return Supervisor(
            self.store,
            self.bell,
            self.clock,
            place,
            chance=lambda: 0.0,
            tell=lambda rule, value, note: self.told.update({rule: value}),
        )

    @property
    def olga(self) -> Caller:
        return Caller("olga", Role.OPERATOR, self.clock.now())


@pytest.fixture
def office() -> Office:
    return Office()


class Part:
    """The body of a thread that crashes as often as it is told to, then works until its end."""

    def __init__(self, crashes: int) -> None:
        self.left = crashes
        self.works = threading.Event()
        self.ends = threading.Event()

    def body(self) -> None:
        if self.left:
            self.left -= 1
            raise ZeroDivisionError("broken")
        self.works.set()
        self.ends.wait(DEADLINE_S)


@pytest.fixture
def part() -> Iterator[Part]:
    part = Part(3)
    yield part
    part.ends.set()


def test_each_part_that_nobody_supervises_waits_longer_each_time():
    crashed = Unsupervised(chance=lambda: 1.0)
    assert [crashed("zygote", "gone") for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert crashed("worker", "gone") == 1.0


def test_a_part_that_crashes_is_begun_again_and_counted(office: Office, part: Part):
    thread = kept("cycle", part.body, office.supervisor)
    thread.start()
    assert part.works.wait(DEADLINE_S)
    office.supervisor.look()
    (health,) = office.supervisor.parts()
    assert (health.name, health.alive, health.crashes) == ("cycle", True, 3)
    assert health.last_crash == "ZeroDivisionError: broken"
    assert [crash.part for crash in office.store.crashes(office.clock.now() - timedelta(1))] == ["cycle"] * 3
    assert office.supervisor.fault() is None
    assert office.told == {"safe_mode": 0.0}
    part.ends.set()
    thread.stop()


def test_a_crash_loop_of_a_part_leads_to_safe_mode_and_out_of_it(office: Office):
    part = Part(MOST_CRASHES + 1)
    thread = kept("intake", part.body, office.supervisor)
    thread.start()
    assert part.works.wait(DEADLINE_S)
    office.supervisor.look()
    assert office.supervisor.share() == 0.0
    refusal = office.supervisor.refusal()
    assert refusal is not None
    assert (refusal.code, refusal.numbers["crashes"], refusal.numbers["retry_after_s"]) == (
        "safe_mode",
        6,
        HEALTH_S,
    )
    assert "tidegate safe-mode leave" in refusal.message
    assert office.told["safe_mode"] == 1.0
    shares = []
    for wait_s in (HEALTH_S, 60.0, 60.0, 60.0):
        office.clock.advance(wait_s)
        office.supervisor.look()
        shares.append(office.supervisor.share())
    assert shares == [0.10, 0.25, 0.50, 1.0]
    assert office.supervisor.state.mode is Mode.NORMAL
    assert office.supervisor.refusal() is None
    part.ends.set()
    thread.stop()


def test_all_servers_share_the_mode(office: Office):
    other = office.new("there")
    office.supervisor.enter(office.olga, "a test")
    other.look()
    assert other.state.mode is Mode.SAFE
    assert "olga ordered it: a test" in str(other.refusal())
    office.clock.advance(10 * HEALTH_S)
    other.look()
    assert other.state.mode is Mode.SAFE
    other.leave(office.olga)
    office.supervisor.look()
    assert office.supervisor.state.mode is Mode.NORMAL
    with pytest.raises(Conflict, match="not in safe mode"):
        other.leave(office.olga)


def test_a_worker_that_keeps_crashing_does_not_hold_the_service_in_safe_mode(office: Office):
    def look_after(seconds: float) -> tuple[Mode, float]:
        office.clock.advance(seconds)
        office.store.add_crash(Crash(worker_place("first"), "zygote", office.clock.now(), "It ended."))
        office.supervisor.look()
        return office.supervisor.state.mode, office.supervisor.share()

    for _ in range(MOST_CRASHES + 1):
        office.supervisor.crashed("cycle", "It ended.")
    assert look_after(0.0) == (Mode.SAFE, 0.0)
    assert look_after(HEALTH_S - 1) == (Mode.SAFE, 0.0)
    assert look_after(1.0) == (Mode.RAMP, 0.10)
    assert look_after(STEP_S) == (Mode.RAMP, 0.25)


def test_a_process_that_is_killed_again_and_again_comes_up_in_safe_mode(office: Office):
    modes, supervisor = [], office.supervisor
    for _ in range(MOST_CRASHES + 2):
        office.clock.advance(20)
        supervisor = office.new()  # the one before was never stopped
        supervisor.start()
        modes.append(supervisor.state.mode)
        supervisor.abandon()
    assert modes == [*([Mode.NORMAL] * (MOST_CRASHES + 1)), Mode.SAFE]
    assert "process 6" in supervisor.state.message


def test_a_process_that_ended_in_order_has_not_crashed(office: Office):
    for _ in range(MOST_CRASHES + 2):
        supervisor = office.new()
        supervisor.start()
        supervisor.stop()
        assert supervisor.crashes_lately() == 0


def test_crashes_are_kept_while_the_store_is_away(office: Office, monkeypatch: pytest.MonkeyPatch):
    def away(crash: object) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(office.store, "add_crash", away)
        office.supervisor.crashed("leader", "it broke")
        with pytest.raises(Unavailable):
            office.supervisor.look()
    office.supervisor.look()
    assert office.supervisor.crashes_lately() == 1
    (crash,) = office.store.crashes(office.clock.now() - timedelta(1))
    assert crash.part == "leader"


def test_who_stands_still_is_told_of_with_the_place_and_is_not_ready(office: Office):
    entered, leave = threading.Event(), threading.Event()

    def body() -> None:
        with thread.working(office.clock.monotonic):
            entered.set()
            leave.wait(DEADLINE_S)

    thread = kept("cycle", body, office.supervisor, patience_s=60.0)
    thread.start()
    assert entered.wait(DEADLINE_S)
    office.supervisor.look()
    assert office.supervisor.fault() is None
    office.clock.advance(61)
    office.supervisor.look()
    office.supervisor.look()
    assert office.supervisor.crashes_lately() == 1  # told once
    assert "cycle stands still for 61 s" in str(office.supervisor.fault())
    leave.set()
    thread.stop()
    office.supervisor.look()
    assert "stands still" not in str(office.supervisor.fault())


class Books:
    """A ledger that adds up or does not."""

    def __init__(self) -> None:
        self.wrong = False
        self.looks = 0

    def check(self) -> None:
        self.looks += 1
        if self.wrong:
            raise LedgerError("The ledger does not add up. The worker's counters differ: local.")


def test_a_ledger_that_does_not_add_up_leads_to_safe_mode_until_it_does(office: Office):
    books = Books()
    duty = AuditLedger(books, office.supervisor)
    for _ in range(2 * EVERY):
        duty.run_once(office.clock.now())
    assert books.looks == 2
    books.wrong = True
    duty.run_once(office.clock.now())
    assert (office.supervisor.state.mode, office.supervisor.state.cause) == (Mode.SAFE, Cause.LEDGER)
    for _ in range(10):
        office.clock.advance(60)
        duty.run_once(office.clock.now())
        office.supervisor.look()
    assert office.supervisor.share() == 0.0
    books.wrong = False
    office.clock.advance(HEALTH_S)
    duty.run_once(office.clock.now())
    office.supervisor.look()
    assert office.supervisor.share() == 0.10


def test_a_database_of_a_newer_version_is_a_safe_mode_that_nobody_can_end(office: Office):
    office.supervisor.mismatched("The database has revision 9999.")
    office.supervisor.look()
    assert office.supervisor.share() == 0.0
    assert "revision 9999" in str(office.supervisor.refusal())
    with pytest.raises(Conflict, match="revision 9999"):
        office.supervisor.leave(office.olga)
    assert office.new("there").state.mode is Mode.NORMAL


class Broken:
    """A duty that fails, as a bug or since the store is away."""

    name, interval_s = "broken", 0.001

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.left = times
        self.done = threading.Event()

    def run_once(self, now: datetime) -> None:
        self.left -= 1
        if self.left <= 0:
            self.done.set()
            return
        raise self.error


@pytest.mark.parametrize(("error", "mode"), [(KeyError("x"), Mode.SAFE), (Unavailable("gone"), Mode.NORMAL)])
def test_duties_that_crash_lead_to_safe_mode_but_not_a_store_that_is_away(office: Office, error, mode):
    duty = Broken(error, MOST_CRASHES + 2)
    runner = DutyRunner([duty], SystemClock(), office.supervisor)
    runner.start()
    assert duty.done.wait(DEADLINE_S)
    runner.stop()
    office.supervisor.look()
    assert office.supervisor.state.mode is mode
