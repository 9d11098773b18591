"""The duty that looks, and the post that sends: over a store in memory, with channels that play."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from tidegate.core.alert_rules import Level, default_rules
from tidegate.core.alerts import Figure
from tidegate.core.identity import Caller, Role
from tidegate.core.pressure import Level as Pressure
from tidegate.core.readings import Readings
from tidegate.core.recovery import Cause, Crash, Mode, SafeMode, left
from tidegate.core.resources import GIB, Resources
from tidegate.core.states import TaskState
from tidegate.errors import InvalidInput, NotFound, Unavailable
from tidegate.ports import (
    AlertFilter,
    ChannelFailed,
    Message,
    Notice,
    WorkerInfo,
    WorkerPressure,
    WorkerRecord,
)
from tidegate.server.alerts.desk import AlertDesk
from tidegate.server.alerts.figures import (
    ChannelFigures,
    FigureSource,
    MachineFigures,
    QueueFigures,
    RecoveryFigures,
    ToldFigures,
    WorkerFigures,
    WorkFigures,
)
from tidegate.server.alerts.post import MOST_TRIES, STUCK_S, Post, pause_s
from tidegate.server.services.alerts import WatchAlerts
from tidegate.server.supervisor import Supervisor
from tidegate.testing.conformance.world import World
from tidegate.testing.fakes import FakeClock, RecordingBell, SoleLeader
from tidegate.testing.memory_store import MemoryStore

WITHIN_S = 20.0
ROOM = Resources(4000, 4 * GIB, 8 * GIB)


@dataclass
class PlayedChannel:
    """Keeps what it is given; fails while `error` says why, waits while `gate` is closed."""

    name: str
    address: str = "here"
    error: str | None = None
    sent: list[Message] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def send(self, message: Message) -> None:
        self.entered.set()
        assert self.gate.wait(WITHIN_S)
        if self.error is not None:
            raise ChannelFailed(self.error)
        self.sent.append(message)

    @property
    def events(self) -> list[str]:
        return [f"{message.facts['event']} {message.facts['rule']}" for message in self.sent]


class SettledStore(MemoryStore):
    """Tells when a notice has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Semaphore(0)
        self.away = False

    def end_notice(
        self, notice: Notice, at: datetime, error: str | None = None, again_at: datetime | None = None
    ) -> bool:
        ended = super().end_notice(notice, at, error, again_at)
        self.ended.release()
        return ended

    def workers(self) -> list[WorkerRecord]:
        if self.away:
            raise Unavailable("The database is away.")
        return super().workers()


@dataclass
class FakeHost:
    percent: dict[str, float] = field(default_factory=lambda: {"cpu": 5.0, "memory": 5.0, "disk": 5.0})

    def system(self):
        return {name: {"percent": percent, "path": "/data"} for name, percent in self.percent.items()}


class Watch:
    """A server's alerts."""

    def __init__(self) -> None:
        self.store = SettledStore()
        self.clock = FakeClock()
        self.leader = SoleLeader(self.store, self.clock)
        self.host = FakeHost()
        self.told = ToldFigures()
        self.mail, self.hook = PlayedChannel("mail"), PlayedChannel("hook")
        self.least = {"mail": Level.WARNING, "hook": Level.WARNING}
        self.rules = default_rules(200_000)
        self.store.register(WorkerInfo("local", "here", ROOM, ROOM), self.clock.now(), 1e9)
        self.post = Post([self.mail, self.hook], self.store, self.clock, self.leader, self.rules, "tide")
        self.desk = AlertDesk(self.store, self.clock, self.rules, self.least, self.post)
        self.duty = self.new_duty()
        self.post.start()

    def new_duty(self) -> WatchAlerts:
        sources: list[FigureSource] = [
            MachineFigures(self.host, "node"),
            WorkerFigures(self.store, "node"),
            QueueFigures(self.store),
            WorkFigures(self.store),
            ChannelFigures(self.store, ["mail", "hook"]),
            RecoveryFigures(self.store),
            self.told,
        ]
        return WatchAlerts(self.store, sources, self.rules, self.least, self.post, self.clock, self.leader)

    def pass_time(self, seconds: float, notices: int = 0) -> None:
        """Look every 5 s; then wait for so many tries to have ended."""
        for _ in range(int(seconds / 5) + 1):
            self.duty.run_once(self.clock.now())
            self.clock.advance(5)
        for _ in range(notices):
            assert self.store.ended.acquire(timeout=WITHIN_S)

    def working(self) -> World:
        """Jobs may run. Their worker is heard of no more when time passes, which is not what these tests are about."""
        world = World(self.store)
        world.clock = self.clock
        world._epoch = self.leader.epoch
        world.register()
        self.desk.change_rule("no_worker", {"enabled": False}, self.operator)
        return world

    @property
    def active(self) -> list[tuple[str, str, str]]:
        found = self.store.alerts(AlertFilter(state="active"))
        return [(alert.rule, alert.subject, alert.level.word) for alert in found]

    @property
    def operator(self) -> Caller:
        return Caller("olga", Role.OPERATOR, self.clock.now())


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    for channel in (made.mail, made.hook):
        channel.gate.set()
    made.post.stop()


def test_all_is_well(watch: Watch):
    watch.pass_time(600)
    assert watch.active == []
    assert watch.mail.sent == []


@pytest.mark.parametrize(("what", "subject"), [("cpu", "node"), ("memory", "node"), ("disk", "node /data")])
def test_a_full_machine_is_told_once_to_each_channel_and_so_is_its_end(watch: Watch, what: str, subject: str):
    watch.host.percent[what] = 97.0
    watch.pass_time(1200, notices=2)
    assert watch.active == [(what, subject, "severe")]
    watch.host.percent[what] = 5.0
    watch.pass_time(100, notices=2)
    assert watch.active == []
    for channel in (watch.mail, watch.hook):
        assert channel.events == [f"raised {what}", f"resolved {what}"]
        assert "97 %, above 95 %" in channel.sent[0].text
        assert channel.sent[0].title.startswith("Tidegate, severe: ")
        assert channel.sent[1].facts["level"] == "info"
        assert len({message.id for message in channel.sent}) == 2


def test_a_long_queue(watch: Watch):
    world = World(watch.store)
    world.clock = watch.clock
    ids = [world.submit() for _ in range(101)]
    watch.pass_time(70, notices=2)
    assert watch.active == [("queue_length", "default", "warning")]
    for job_id in ids[:20]:
        watch.store.request_cancel(job_id, watch.clock.now())
    watch.pass_time(70, notices=2)
    assert watch.active == []


def test_no_worker(watch: Watch):
    watch.store.unregister("local", 1, watch.clock.now())
    watch.pass_time(40, notices=2)
    assert watch.active == [("no_worker", "service", "danger")]
    assert watch.mail.sent[0].text.startswith("No worker is online.")
    watch.store.register(WorkerInfo("local", "here", ROOM, ROOM), watch.clock.now(), 1e9)
    watch.pass_time(20, notices=2)
    assert watch.active == []


def test_the_pressure_and_the_readings_of_workers(watch: Watch):
    felt = Readings(cpu_busy_percent=50.0, memory_used_percent=99.0, disk_free_percent=1.0)
    info = WorkerInfo("w7", "far", ROOM, ROOM, pressure=WorkerPressure(Pressure.CRITICAL, readings=felt))
    generation = watch.store.register(info, watch.clock.now(), 1e9)
    watch.store.beat(info, generation, watch.clock.now(), 1e9, ())
    watch.pass_time(70, notices=6)
    assert sorted(watch.active) == [
        ("disk", "w7", "severe"),
        ("memory", "w7", "severe"),
        ("pressure", "w7", "severe"),
    ]
    assert any(
        "Pressure level of w7 is 2 of 3, above 1 of 3. It is critical." in one.text for one in watch.mail.sent
    )
    watch.store.unregister("w7", generation, watch.clock.now())
    watch.pass_time(70, notices=6)
    assert watch.active == []


def test_failing_jobs(watch: Watch):
    world = watch.working()
    for number in range(12):
        world.submit()
        key = world.claim()[0].key
        world.clock.advance(20)
        world.report(key, TaskState.FAILED if number < 2 else TaskState.SUCCEEDED)
    watch.pass_time(40, notices=2)
    assert watch.active == [("failure_rate", "service", "warning")]
    assert "of 12 within five minutes" in watch.mail.sent[0].text
    watch.pass_time(400, notices=2)
    assert watch.active == []


def test_slow_jobs(watch: Watch):
    world = watch.working()
    for _ in range(3):
        world.submit()
    keys = [one.key for one in world.claim()]
    world.clock.advance(400)
    for key in keys:
        world.report(key)
    watch.pass_time(40, notices=2)
    assert watch.active == [("run_time", "service", "warning")]
    watch.pass_time(400, notices=2)
    assert watch.active == []


@pytest.mark.parametrize(("rule", "value"), [("safe_mode", 1.0), ("ledger", 1.0)])
def test_what_parts_of_the_service_tell(watch: Watch, rule: str, value: float):
    watch.told.tell(rule, value, "The zygote ended four times.")
    watch.pass_time(10, notices=2)
    assert [found[0] for found in watch.active] == [rule]
    assert "The zygote ended four times." in watch.hook.sent[0].text
    watch.told.tell(rule, 0.0)
    watch.pass_time(70, notices=2)
    assert watch.active == []


def test_crash_loops_and_safe_mode_as_the_store_has_them(watch: Watch):
    for _ in range(3):
        for part in ("zygote", "scheduler"):
            watch.store.add_crash(Crash("server a", part, watch.clock.now(), "ValueError: odd."))
    state = SafeMode(Mode.SAFE, watch.clock.now(), Cause.LEDGER, "Worker 'local' differs.")
    assert watch.store.set_safe_mode(state)
    supervisor = Supervisor(watch.store, RecordingBell(), watch.clock, "server a", tell=watch.told.tell)
    supervisor.start()
    watch.pass_time(
        5, notices=6
    )  # one alert for the loop, whatever parts it goes through and whoever tells of it
    supervisor.abandon()
    assert sorted(found[0] for found in watch.active) == ["crash_loop", "ledger", "safe_mode"]
    texts = [message.text for message in watch.mail.sent]
    assert any(
        "Number of restarts within ten minutes of server a is 6" in text
        and "Last the scheduler: ValueError: odd." in text
        for text in texts
    )
    assert any("The service is in safe mode. Worker 'local' differs." in text for text in texts)
    assert watch.store.set_safe_mode(left(watch.store.safe_mode(), "olga", watch.clock.now()))
    supervisor.look()
    watch.pass_time(700, notices=6)
    assert watch.active == []


def test_a_dead_channel_is_tried_again_and_becomes_an_alert_of_the_others(watch: Watch):
    watch.mail.error = "nobody there"
    watch.host.percent["memory"] = 85.0
    watch.pass_time(65, notices=2)
    watch.pass_time(15, notices=1)
    watch.pass_time(25, notices=1)
    watch.pass_time(10, notices=1)
    assert ("channel_lost", "mail", "warning") in watch.active
    assert watch.hook.events == ["raised memory", "raised channel_lost"]
    assert "3 tries, above 2 tries. nobody there" in watch.hook.sent[1].text
    assert watch.mail.sent == []
    watch.mail.error = None
    watch.pass_time(45, notices=1)
    watch.pass_time(10, notices=1)
    assert watch.active == [("memory", "node", "warning")]
    assert watch.mail.events == ["raised memory"]
    assert watch.hook.events == ["raised memory", "raised channel_lost", "resolved channel_lost"]


def test_a_message_is_given_up_at_last(watch: Watch):
    watch.mail.error = watch.hook.error = "nobody there"
    watch.told.tell("ledger", 1.0)
    watch.duty.run_once(watch.clock.now())
    for tries in range(1, MOST_TRIES + 1):
        for _ in ("mail", "hook"):
            assert watch.store.ended.acquire(timeout=WITHIN_S)
        watch.clock.advance(pause_s(tries))
        watch.post.wake()
    (ledger,) = watch.store.alerts(AlertFilter(rule="ledger"))
    assert {(one.state, one.tries) for one in watch.store.notices(ledger.id)} == {("given_up", MOST_TRIES)}
    assert sum(map(pause_s, range(1, MOST_TRIES))) == pytest.approx(2430)


def test_a_channel_that_hangs_holds_up_no_other_and_counts_as_failed(watch: Watch):
    watch.mail.gate.clear()
    watch.told.tell("ledger", 1.0)
    watch.pass_time(0, notices=1)
    assert watch.hook.events == ["raised ledger"]
    assert watch.mail.entered.wait(WITHIN_S)
    for _ in range(3):
        watch.clock.advance(STUCK_S)
        watch.duty.run_once(watch.clock.now())
    watch.duty.run_once(watch.clock.now())
    assert watch.store.ended.acquire(timeout=WITHIN_S)
    assert ("channel_lost", "mail", "warning") in watch.active
    told = {f"It has not answered for {times * STUCK_S:.0f} s." for times in (1, 2, 3)}
    assert watch.store.channel_states()[-1].error in told


def test_a_message_that_cannot_be_written_fails_like_one_that_cannot_be_sent(
    watch: Watch, caplog: pytest.LogCaptureFixture
):
    def render(notice: Notice) -> Message:
        raise KeyError("a rule of a newer version")

    watch.post._men["mail"]._render = render
    watch.told.tell("ledger", 1.0)
    watch.pass_time(0, notices=2)
    (ledger,) = watch.store.alerts(AlertFilter(rule="ledger"))
    states = {one.channel: (one.state, one.error) for one in watch.store.notices(ledger.id)}
    assert states["mail"] == ("waiting", "here failed with KeyError.")
    assert states["hook"] == ("sent", None)
    assert "a rule of a newer version" in caplog.text


def test_what_is_acknowledged_or_silenced_is_not_told_again(watch: Watch):
    watch.told.tell("ledger", 1.0)
    watch.pass_time(0, notices=2)
    watch.pass_time(4 * 3600, notices=2)
    assert watch.mail.events == ["raised ledger", "repeated ledger"]
    assert watch.mail.sent[1].title.startswith("Tidegate, danger, again: ")
    ((alert, silenced),) = watch.desk.list(AlertFilter())
    assert not silenced
    watch.desk.acknowledge(alert.id, watch.operator, "seen")
    watch.pass_time(9 * 3600)
    assert len(watch.mail.sent) == 2
    made = watch.desk.silence(watch.operator, "safe_mode", None, 60, "a drill")
    watch.told.tell("safe_mode", 1.0)
    watch.pass_time(600)
    assert watch.desk.get(watch.store.open_alerts()[-1].id)[1]
    watch.desk.end_silence(made.id, watch.operator)
    watch.pass_time(0, notices=2)
    assert watch.mail.events[2:] == ["raised safe_mode"]


def test_another_leader_tells_nothing_twice(watch: Watch):
    watch.host.percent["memory"] = 85.0
    watch.pass_time(65, notices=2)
    watch.duty = watch.new_duty()
    watch.pass_time(600)
    watch.host.percent["memory"] = 5.0
    watch.pass_time(65, notices=2)
    assert watch.mail.events == ["raised memory", "resolved memory"]


def test_figures_that_cannot_be_had_change_nothing(watch: Watch, caplog: pytest.LogCaptureFixture):
    watch.store.unregister("local", 1, watch.clock.now())
    watch.pass_time(40, notices=2)
    watch.host.percent["memory"] = 85.0
    watch.pass_time(65, notices=2)
    watch.store.away = True
    watch.host.percent["memory"] = 5.0
    watch.pass_time(600, notices=2)
    assert watch.active == [("no_worker", "service", "danger")]
    assert "no_worker, pressure, cpu, memory, disk could not be had" in caplog.text


def test_operators_change_rules_while_the_server_runs(watch: Watch):
    changed = watch.desk.change_rule("memory", {"warning": 2.0, "hold_s": 0.0}, watch.operator)
    assert (changed.rule.warning, changed.rule.severe) == (2.0, 95)
    watch.pass_time(0, notices=2)
    assert watch.active == [("memory", "node", "warning")]
    with pytest.raises(InvalidInput, match="severe"):
        watch.desk.change_rule("memory", {"severe": 1.0}, watch.operator)
    with pytest.raises(NotFound):
        watch.desk.change_rule("humidity", {"severe": 1.0}, watch.operator)
    assert watch.desk.reset_rule("memory", watch.operator).rule == watch.rules["memory"]
    watch.pass_time(70, notices=2)
    assert watch.active == []


def test_the_test_button_tells_how_it_went(watch: Watch):
    assert watch.desk.test("mail", watch.operator).result(WITHIN_S) is None
    assert "asked for by olga" in watch.mail.sent[0].text
    watch.mail.error = "nobody there"
    assert watch.desk.test("mail", watch.operator).result(WITHIN_S) == "nobody there"
    (_, (channel, least, state)) = watch.desk.channels()
    assert (channel.name, least, state.failures) == ("mail", Level.WARNING, 1)
    with pytest.raises(NotFound, match="hook, mail"):
        watch.desk.test("pigeon", watch.operator)


def test_figures_of_a_board_stay_until_they_are_told_again(watch: Watch):
    watch.told.tell("ledger", 4.0, subject="zygote")
    watch.told.tell("ledger", 1.0, subject="worker")
    watch.told.tell("ledger", 2.0, subject="zygote")
    assert sorted(watch.told.figures(watch.clock.now())) == [
        Figure("ledger", "worker", 1.0),
        Figure("ledger", "zygote", 2.0),
    ]
